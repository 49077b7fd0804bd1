"""Secret parameters of functions are used and never printed."""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL

from prefect_cvat import annotate_task as annotate_with
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec
from prefect_cvat.auto_annotation.loading import parse_parameter
from prefect_cvat.auto_annotation.secret_text import SecretReference, SecretText
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.inference.function_digest.digest import digest_of
from prefect_cvat.secret_parameters import with_secrets
from prefect_cvat.settings import Settings

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]

KEY = "0123456789"
FUNCTION = "flow_functions.with_key"


@pytest.fixture(autouse=True)
def blocks(prefect_server, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    Secret(value=KEY).save("model-key", overwrite=True)
    Secret(value=f"refused-{KEY}").save("refused-key", overwrite=True)
    Secret(value={"user": "alice"}).save("no-text", overwrite=True)


def function(name, function=FUNCTION):
    return CvatFunction(function=function, function_parameters={"api_key": f"secret:{name}"})


def test_flow_run_reads_secret_of_block_and_does_not_show_it(make_task, credentials, caplog):
    caplog.set_level("DEBUG")
    parameters = {"api_key": "secret:model-key"}
    report = annotate_task(make_task(), credentials, function=FUNCTION, function_parameters=parameters)
    assert report.frames == 6
    assert report.provenance.function_parameters == parameters
    with get_client(sync_client=True) as prefect:
        [run] = prefect.read_flow_runs(limit=1, sort=FlowRunSort.EXPECTED_START_TIME_DESC)
    assert run.parameters["function_parameters"] == parameters
    recorded = "".join(path.read_text() for path in Settings().runs_dir.rglob("*.jsonl"))
    for told in (report.model_dump_json(), run.model_dump_json(), caplog.text, recorded):
        assert "secret:model-key" in told or told == caplog.text
        assert KEY not in told


def test_missing_block_fails_before_the_run(credentials):
    with pytest.raises(FunctionLoadError, match=r"'api_key' is secret:nowhere, and there is no usable block"):
        annotate_task(
            999_999, credentials, function=FUNCTION, function_parameters={"api_key": "secret:nowhere"}
        )  # which task it is does not matter: nothing was asked of CVAT yet


def test_block_without_text_is_an_error():
    with pytest.raises(FunctionLoadError, match="the block secret/no-text holds dict, not text"):
        function("no-text").get_function()


def test_error_of_function_does_not_show_its_secret():
    with pytest.raises(FunctionLoadError) as caught:
        function("refused-key").get_function()
    assert "ValueError: the key ******** is not valid (" in str(caught.value)
    assert caught.value.__suppress_context__


class Refused:
    """A detection function whose service names the key in its error, as HTTP clients do."""

    spec = DetectionFunctionSpec(labels=[label_spec("person", 0)])

    def __init__(self, key):
        self.key = key

    def detect(self, context, image):
        raise ValueError(f"401 Unauthorized for url: https://models.example.com/?key={self.key}")


def test_error_on_a_frame_does_not_show_a_secret(make_task, client):
    key = with_secrets({"api_key": SecretReference("model-key")})["api_key"]
    with pytest.raises(BadFunctionError, match=r"example\.com/\?key=\*{8}") as caught:
        annotate_with(client, make_task(), Refused(key), use_cache=False)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_digest_uses_name_of_block_not_the_secret():
    class Model:
        def __init__(self, name):
            self.api_key = with_secrets({"api_key": SecretReference(name)})["api_key"]

    digest = digest_of(Model("model-key")).digest
    Secret(value="another key").save("model-key", overwrite=True)
    assert digest is not None
    assert digest_of(Model("model-key")).digest == digest
    Secret(value=KEY).save("another-key", overwrite=True)
    assert digest_of(Model("another-key")).digest != digest


def test_secret_text_has_no_readable_repr():
    secret = SecretText("key", SecretReference("name"))
    assert secret == "key"
    assert f"Bearer {secret}" == "Bearer key"
    assert json.dumps(secret) == '"key"'
    assert repr({"key": secret}) == "{'key': secret:name}"
    for copied in (copy.deepcopy(secret), pickle.load(io.BytesIO(pickle.dumps(secret)))):
        assert (copied, repr(copied)) == ("key", "secret:name")


def test_refuses_reference_without_block_name():
    assert parse_parameter("key=secret:name") == ("key", SecretReference("name"))
    with pytest.raises(ValueError, match="names no block"):
        parse_parameter("key=secret:")


def annotate(task_id, sandbox, *parameters, **environment):
    command = [sys.executable, "-m", "prefect_cvat", "--debug", "--server-host", sandbox.url]
    command += ["--auth", f"{sandbox.user}:{sandbox.password}", "annotate", str(task_id), "--json"]
    command += ["--function-file", str(Path(__file__).parent / "flow_functions" / "with_key.py")]
    return subprocess.run(
        [*command, *parameters],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value(), **environment},
    )


def test_command_line_reads_secrets_of_blocks(make_task, sandbox):
    done = annotate(make_task(), sandbox, "-p", "api_key=secret:model-key")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["provenance"]["function_parameters"] == {"api_key": "secret:model-key"}
    assert KEY not in done.stdout + done.stderr


def test_command_line_names_missing_block_or_server(make_task, sandbox):
    done = annotate(make_task(), sandbox, "-p", "api_key=secret:nowhere")
    assert done.returncode == 1
    assert "there is no usable block secret/nowhere" in done.stderr
    done = annotate(make_task(), sandbox, "-p", "api_key=secret:model-key", PREFECT_API_URL="")
    assert done.returncode != 0
    assert "PREFECT_API_URL is not set" in done.stderr
