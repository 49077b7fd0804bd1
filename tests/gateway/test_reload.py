"""The configuration is read again while annotators work."""

import threading
import time

import pytest

from cvat_calls import encoded
from gateway_files import TRACKER, write_function
from gateway_functions import Detection, Tracking
from polling import until
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.gateway import Gateway, GatewayConfiguration, ServedFunction

BOX = {"type": "rectangle", "points": [1, 2, 10, 12]}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "cache"))


def entry(tmp_path, name, **fields):
    return ServedFunction(function_file=tmp_path / f"{name}.py", **fields)


def test_unchanged_functions_stay_loaded_with_their_tracks(serve, tmp_path):
    for name in ("one", "two", "three"):
        write_function(tmp_path, name, TRACKER)
    calls = serve(GatewayConfiguration(port=0, functions=[entry(tmp_path, "one"), entry(tmp_path, "two")]))
    assert calls.gateway.wait_until_described(60)
    states = {name: calls.from_page(name, shapes=[BOX])["states"] for name in ("one", "two")}
    changed = [entry(tmp_path, "one", title="First"), entry(tmp_path, "two"), entry(tmp_path, "three")]
    (tmp_path / "two.py").write_text(TRACKER + "# changed")
    calls.gateway.reload(GatewayConfiguration(port=0, functions=changed))
    assert {"one", "two"} <= set(calls.functions().json())
    assert calls.gateway.wait_until_described(60)
    assert sorted(calls.functions().json()) == ["one", "three", "two"]
    assert calls.function("one").json()["metadata"]["annotations"]["name"] == "First"
    assert calls.from_page("one", shapes=[None], states=states["one"])["shapes"] == [BOX]
    assert calls.refused("two", shapes=[None], states=states["two"])[0] == 409


def test_other_labels_and_thresholds_do_not_load_again(serve, tmp_path):
    file = write_function(tmp_path, "det")
    log = f"with open({str(tmp_path / 'loads')!r}, 'a') as log: log.write('x')"
    file.write_text(f"{file.read_text()}\n{log}")
    calls = serve(GatewayConfiguration(port=0, functions=[entry(tmp_path, "det")]))
    assert calls.gateway.wait_until_described(60)
    assert calls.from_page("det")[0]["label"] == "car"
    loads = (tmp_path / "loads").read_text()
    shown = entry(tmp_path, "det", label_map={"car": "vehicle"})
    calls.gateway.reload(GatewayConfiguration(port=0, functions=[shown]))
    assert "vehicle" in calls.functions().text
    assert calls.from_page("det")[0]["label"] == "vehicle"
    wrong = entry(tmp_path, "det", label_map={"lorry": "vehicle"})
    calls.gateway.reload(GatewayConfiguration(port=0, functions=[wrong]))
    assert "label_map names label 'lorry'" in calls.refused("det")[1]
    assert (tmp_path / "loads").read_text() == loads


def test_function_whose_new_code_is_invalid_stays_as_it_was(serve, tmp_path, caplog):
    write_function(tmp_path, "det")
    calls = serve(GatewayConfiguration(port=0, functions=[entry(tmp_path, "det")]))
    assert calls.gateway.wait_until_described(60)
    assert calls.from_page("det")
    (tmp_path / "det.py").write_text("raise RuntimeError('half written')")
    calls.gateway.reload(GatewayConfiguration(port=0, functions=[entry(tmp_path, "det")]))
    assert calls.gateway.wait_until_described(60)
    assert "det stays as it was: " in caplog.text
    assert calls.from_page("det")


def test_nothing_is_refused_while_functions_are_replaced(serve, tmp_path):
    write_function(tmp_path, "det")
    calls = serve(GatewayConfiguration(port=0, functions=[entry(tmp_path, "det")]))
    assert calls.gateway.wait_until_described(60)
    is_over, statuses = threading.Event(), []

    def call():
        while not is_over.is_set():
            statuses.append(calls.invoke("det", {"image": encoded()}).status_code)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(3):
        write_function(tmp_path, "det", f"number = {number}")
        calls.gateway.reload(GatewayConfiguration(port=0, functions=[entry(tmp_path, "det")]))
        assert calls.gateway.wait_until_described(60)
        time.sleep(0.2)
    is_over.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert len(statuses) > 50


def test_removed_function_is_gone_after_its_calls(serve, tmp_path):
    write_function(tmp_path, "slow", "time.sleep(2)")
    calls = serve(GatewayConfiguration(port=0, functions=[entry(tmp_path, "slow")]))
    assert calls.gateway.wait_until_described(60)
    calls.from_page("slow")
    results = []
    running = threading.Thread(target=lambda: results.append(calls.from_page("slow")))
    running.start()
    until(lambda: calls.in_progress() == 1)
    calls.gateway.reload(GatewayConfiguration(port=0))
    assert calls.refused("slow")[0] == 404
    running.join()
    assert results == [[{"label": "car", "type": "rectangle", "points": [1, 2, 3, 4]}]]
    until((tmp_path / "slow.closed").exists)


def test_reload_with_a_name_that_is_taken_changes_nothing(serve, tmp_path):
    write_function(tmp_path, "det")
    calls = serve(det=Detection())
    with pytest.raises(ValueError, match="two functions named 'det'"):
        calls.gateway.reload(GatewayConfiguration(functions=[entry(tmp_path, "det")]))
    assert calls.from_page("det")


def test_two_gateways_behind_one_address_refuse_the_tracks_of_the_other(serve):
    here, there = serve(trk=Tracking()), serve(trk=Tracking())
    states = here.from_page("trk", shapes=[BOX])["states"]
    assert there.refused("trk", shapes=[None], states=states)[0] == 409
    assert here.from_page("trk", shapes=[None], states=states)


def test_calls_in_progress_end_when_the_gateway_stops():
    from cvat_calls import CvatCalls

    results = []
    with Gateway(GatewayConfiguration(port=0), functions={"det": Detection(seconds=1.0)}) as gateway:
        calls = CvatCalls(gateway)
        running = threading.Thread(target=lambda: results.append(calls.from_page("det")))
        running.start()
        until(lambda: calls.in_progress() == 1)
    running.join()
    assert len(results[0]) == 1


def test_functions_are_closed_when_the_gateway_has_stopped(tmp_path):
    from cvat_calls import CvatCalls

    file = write_function(tmp_path, "slow")
    file.write_text(file.read_text().replace("def close(self):", "def close(self):\n        time.sleep(0.5)"))
    with Gateway(GatewayConfiguration(port=0, functions=[entry(tmp_path, "slow")])) as gateway:
        assert gateway.wait_until_described(60)
        CvatCalls(gateway).from_page("slow")
    assert (tmp_path / "slow.closed").exists()


def test_gateway_stops_in_spite_of_a_function_that_hangs():
    from cvat_calls import CvatCalls

    function = Detection(seconds=30)
    configuration = GatewayConfiguration(port=0, grace_seconds=0.5)
    with Gateway(configuration, functions={"det": function}) as gateway:
        calls = CvatCalls(gateway)
        threading.Thread(target=lambda: _ignore_reset(calls), daemon=True).start()
        until(lambda: function.contexts)
        begin = time.monotonic()
    assert time.monotonic() - begin < 25, "it has waited for the function"


def _ignore_reset(calls):
    import requests

    with pytest.raises(requests.ConnectionError):
        calls.from_page("det")


def test_port_in_use_is_an_error(serve):
    port = int(serve(det=Detection()).url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        Gateway(GatewayConfiguration(port=port), functions={}).start()


def test_what_is_no_function_is_an_error():
    with pytest.raises(BadFunctionError), Gateway(GatewayConfiguration(port=0), functions={"x": object()}):
        pass
