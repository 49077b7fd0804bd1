"""The files of containers agree with each other, and with what they contain."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from prefect_cvat.cli.app import COMMANDS, app
from prefect_cvat.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deployments"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
SERVICES = COMPOSE["services"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _commands(words_of_service):
    """The commands that a service runs, also those in a script of it."""
    match words_of_service:
        case ["sh", "-ec", script]:
            return [shlex.split(line) for line in script.replace("$$", "$").splitlines()]
        case words:
            return [words]


def _all_commands(program):
    return [
        words[1:]
        for service in SERVICES.values()
        for words in _commands(service.get("command", []))
        if words and words[0] == program
    ]


def test_example_of_env_has_the_variables_of_compose():
    used = set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT))
    example = (FOLDER / ".env.example").read_text(encoding="utf-8")
    assert used == set(re.findall(r"^(\w+)=", example, re.MULTILINE))


@pytest.mark.parametrize("words", _all_commands("prefect-cvat"), ids=" ".join)
def test_commands_parse(words):
    context = app.make_context("prefect-cvat", list(words))
    name, *rest = [*context._protected_args, *context.args]
    if name == "gateway" and name not in COMMANDS:
        pytest.skip("this version has no gateway")
    app.get_command(context, name).make_context(name, rest, parent=context)


def test_worker_and_deployments_use_one_pool():
    definitions = yaml.safe_load((FOLDER / "prefect.yaml").read_text(encoding="utf-8"))["definitions"]
    pool = definitions["work_pool"]["name"]
    default = json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])
    for words in (default, SERVICES["worker"]["command"]):
        assert words[words.index("--pool") + 1] == pool
        assert "--with-healthcheck" in words  # what HEALTH_URL of the image asks


def test_image_is_built_from_what_the_wheel_needs():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    folders = {path.partition("/")[0] for path in PROJECT["tool"]["setuptools"]["package-dir"].values()}
    assert folders | {"LICENSE", "README.md", "pyproject.toml", "setup.py"} == kept


def test_image_names_settings_and_extras_that_exist():
    settings = {f"PREFECT_CVAT_{name.upper()}" for name in Settings.model_fields}
    if "gateway" not in COMMANDS:
        settings.add("PREFECT_CVAT_GATEWAY_SECRET")
    assert set(re.findall(r"\bPREFECT_CVAT_\w+", DOCKERFILE + COMPOSE_TEXT)) <= settings
    [extras] = re.findall(r"^ARG EXTRAS=(.+)$", DOCKERFILE, re.MULTILINE)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_image_does_not_run_as_root():
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1] == "1000"


@pytest.mark.parametrize("name", ["prefect", "webhooks", "gateway"])
def test_health_is_asked_at_the_port_of_the_service(name):
    port = SERVICES[name]["ports"][0].rpartition(":")[2]
    assert f":{port}/" in SERVICES[name]["environment"]["HEALTH_URL"]


def test_only_what_checks_a_secret_is_reachable_from_outside():
    outside = [
        name
        for name, service in SERVICES.items()
        if any(not port.startswith("127.0.0.1:") for port in service.get("ports", []))
    ]
    assert outside == ["webhooks", "gateway"]


def test_override_for_gpus_changes_a_service_that_exists():
    cuda = yaml.safe_load((FOLDER / "compose.cuda.yaml").read_text(encoding="utf-8"))
    assert cuda["services"].keys() <= SERVICES.keys()
