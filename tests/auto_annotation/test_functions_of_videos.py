"""A function that follows the objects of a video is refused where images do not form one."""

import pathlib

import cvat_sdk.auto_annotation as cvataa
import pytest

from command_line import run_command_text
from flow_functions.following import Following
from pictures import picture
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.for_cvat_sdk import as_cvat_sdk
from prefect_cvat.gateway.descriptions import describe

MESSAGE = "'Following' finds and follows the objects of a video: make tracks with it"


def test_the_gateway_refuses_it():
    with pytest.raises(BadFunctionError, match=MESSAGE):
        describe(Following())


def test_the_sdk_is_refused_it():
    with pytest.raises(cvataa.BadFunctionError, match=MESSAGE):
        as_cvat_sdk(Following())


def test_a_preview_refuses_it(tmp_path):
    file = tmp_path / "photo.png"
    file.write_bytes(picture())
    function = pathlib.Path(__file__).parents[1] / "flow_functions" / "following.py"
    done = run_command_text("preview", file, "--function-file", function, "-o", tmp_path / "page.html")
    assert done.returncode == 1
    assert MESSAGE in done.stderr
    assert not (tmp_path / "page.html").exists()
