"""The block that holds a configured function, and what a flow makes of it."""

import socket
from urllib.error import HTTPError, URLError

import pytest
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite

from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.flows.parameters import choose_function
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.labels import LabelOptions


class TestPrefectsStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self):
        return CvatFunction

    def test_has_a_valid_image(self, block):
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(10)
        try:
            super().test_has_a_valid_image(block)
        except HTTPError:
            raise
        except URLError as error:
            pytest.skip(f"the logo cannot be fetched here: {error.reason}")
        finally:
            socket.setdefaulttimeout(before)


def test_it_loads_the_function_that_it_describes():
    function = CvatFunction(function="nanodet_detection", device="cpu").get_function()
    assert [label.name for label in function.spec.labels][:2] == ["person", "bicycle"]
    assert str(function.device) == "cpu"


def test_parameters_are_read_when_the_block_is_made():
    with pytest.raises(ValueError, match="type"):
        CvatFunction(function="tiled", function_parameters={"score_threshold": "0.3"})
    with pytest.raises(ValueError, match="less than or equal to 1"):
        CvatFunction(function="tiled", conf_threshold=1.5)


def test_what_is_not_allowed_is_not_loaded():
    with pytest.raises(FunctionLoadError, match="PREFECT_CVAT_FUNCTION_MODULES"):
        CvatFunction(function="os.path").get_function()


def test_a_block_takes_the_place_of_what_else_is_said_but_for_the_device():
    block = CvatFunction(function="torchvision_detection", conf_threshold=0.4)
    assert choose_function(block, "nanodet_detection", labels=LabelOptions(ignore_case=True)) is block
    on_a_device = choose_function(block, "nanodet_detection", device="cuda:1")
    assert (on_a_device.function, on_a_device.device) == ("torchvision_detection", "cuda:1")
    assert on_a_device.conf_threshold == 0.4
    described = choose_function(None, "tiled", labels=LabelOptions(ignore_case=True, conf_threshold=0.5))
    assert (described.function, described.ignore_case, described.conf_threshold) == ("tiled", True, 0.5)
