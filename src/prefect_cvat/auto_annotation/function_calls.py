"""Calling the code of functions: any exception becomes a `BadFunctionError` with file and line."""

from __future__ import annotations

import inspect
import sysconfig
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel

from prefect_cvat.auto_annotation.device_errors import is_device_failure
from prefect_cvat.exceptions import BadFunctionError, DeviceError
from prefect_cvat.messages.bounded_text import describe_error, one_line, shorten_error
from prefect_cvat.termination import Terminated

__all__ = [
    "as_list",
    "call_function",
    "check_sees_single_images",
    "close_function",
    "is_installed",
    "is_of_function",
    "place_of",
    "read_attribute",
    "read_labels",
    "read_spec",
    "where_raised",
]

_STDLIB = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})

MAX_ANNOTATIONS_PER_IMAGE = 100_000
"""Maximum number of results for one image; more indicate an endless loop."""

Result = TypeVar("Result")


def call_function(
    call: Callable[[], Result],
    method: object,
    where: str,
    failed: str,
    check_input: Callable[[], object] | None = None,
) -> Result:
    """Call a method of a function.

    Args:
        call: Calls it.
        method: The method, for its file and line.
        where: The frame or the shape of this call, for errors.
        failed: The beginning of the error message.
        check_input: Raises if the input of the method is invalid.

    Raises:
        BadFunctionError: It failed, also by `sys.exit`.
        DeviceError: Its GPU failed.
    """
    try:
        return call()
    except BaseException as error:
        if is_device_failure(error):
            raise DeviceError(_describe_device_failure(error, method, failed)) from shorten_error(error)
        if isinstance(error, BadFunctionError):
            place = _user_place(error.__traceback__)
            raise BadFunctionError(
                f"{where}: {one_line(error)}" + (f" ({place})" if place else "")
            ) from shorten_error(error)
        if not is_of_function(error):
            raise
        if check_input is not None:
            check_input()
        place = where_raised(error) if _user_place(error.__traceback__) else place_of(method)
        raise BadFunctionError(
            f"{failed}: {describe_error(error)}" + (f" ({place})" if place else "")
        ) from shorten_error(error)


def _describe_device_failure(error: BaseException, method: object, failed: str) -> str:
    reason = describe_error(error).partition(" CUDA kernel errors might be")[0]  # torch goes on to debugging
    name = _name(getattr(method, "__self__", method))
    return (
        f"{failed}: the device of {name} has failed: {reason}. What was written stays. Check the device, and"
        " run again in a new process to complete the task"
    )


def is_of_function(error: BaseException) -> bool:
    """Whether an error comes from the function, and is not a request to end the run."""
    if isinstance(error, Terminated):
        return False
    if isinstance(error, Exception | SystemExit | GeneratorExit) or type(error) is BaseException:
        return True
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_of_function, error.exceptions))
    if isinstance(error, KeyboardInterrupt):  # a user's Ctrl-C arrives in the main thread
        return threading.current_thread() is not threading.main_thread()
    # exceptions by which Prefect and asyncio cancel
    return type(error).__module__.partition(".")[0] not in ("asyncio", "prefect", "anyio", "builtins")


def as_list(output: Any, expected: str) -> list[Any]:
    """The results that a function returned or generated for an image.

    Raises:
        BadFunctionError: It is not a sequence, or has too many results.
    """
    # pydantic models are iterable, but are one annotation
    if isinstance(output, str | bytes | Mapping | BaseModel) or not isinstance(output, Iterable):
        if inspect.iscoroutine(output):
            output.close()  # otherwise Python warns that it was never awaited
        raise BadFunctionError(
            f"function output an object of type {type(output).__name__!r} (expected {expected})"
        )
    found: list[Any] = []
    for item in output:
        if len(found) == MAX_ANNOTATIONS_PER_IMAGE:
            raise BadFunctionError(
                f"function output more than {MAX_ANNOTATIONS_PER_IMAGE:,} results for an image"
            )
        found.append(item)
    return found


def read_spec(function: Any, kind: str) -> Any:
    """The spec of a function, or None.

    Args:
        function: The function.
        kind: What it should be, such as `a detection function`.

    Raises:
        BadFunctionError: It is a class instead of an object, or reading its spec fails.
    """
    if isinstance(function, type):
        raise BadFunctionError(
            f"{function.__name__!r} is not {kind} but a class ({place_of(function)}); give an object of it:"
            f" {function.__name__}(...)"
        )
    try:
        return function.spec
    except AttributeError as error:
        if inspect.getattr_static(function, "spec", None) is None:
            return None
        failure: BaseException = error
    except BaseException as error:
        if not is_of_function(error):
            raise
        failure = error
    text = one_line(failure) if isinstance(failure, BadFunctionError) else describe_error(failure)
    raise BadFunctionError(
        f"the spec of {type(function).__name__!r} cannot be read: {text} ({where_raised(failure)})"
    ) from shorten_error(failure)


def read_labels(function: Any) -> list[Any]:
    """The labels of the spec of a detection function.

    Raises:
        BadFunctionError: There are none.
    """
    spec = read_spec(function, "a detection function")
    name = _name(function)
    labels = getattr(spec, "labels", None)
    if labels is None:
        raise BadFunctionError(
            f"{name} is not a detection function: its spec is {type(spec).__name__!r}"
            f" (expected 'DetectionFunctionSpec') ({place_of(function)})"
        )
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise BadFunctionError(
            f"the labels of {name} are of type {type(labels).__name__!r} (expected a sequence of labels)"
            f" ({place_of(function)})"
        )
    labels = list(labels)
    if strange := [label for label in labels if not (hasattr(label, "name") and hasattr(label, "id"))]:
        raise BadFunctionError(
            f"a label of {name} is of type {type(strange[0]).__name__!r}; make labels with label_spec"
            f" ({place_of(function)})"
        )
    if not labels:
        raise BadFunctionError(
            f"the spec of {name} has no labels, so it can find nothing ({place_of(function)})"
        )
    return labels


def read_attribute(function: Any, name: str) -> Any:
    """An optional attribute of a function, such as its `version`; None if it has none.

    Raises:
        BadFunctionError: Reading it fails.
    """
    return call_function(
        lambda: getattr(function, name, None),
        function,
        name,
        f"the {name} of {_name(function)} cannot be read",
    )


def check_sees_single_images(function: Any) -> None:
    """Check that a detection function needs no more than one image at a time.

    Raises:
        BadFunctionError: It needs the frames of a video, one after the other.
    """
    if hasattr(function, "begin_video"):
        raise BadFunctionError(
            f"{_name(function)} finds and follows the objects of a video: make tracks with it"
            " (`prefect-cvat track`, `track_task`)"
        )


def close_function(function: Any) -> None:
    """Close a function, if it has a `close`.

    Raises:
        BadFunctionError: Closing it fails.
    """
    close = getattr(function, "close", None)
    if close is not None:
        call_function(close, close, "on closing", f"{_name(function)} cannot be closed")


def where_raised(error: BaseException) -> str:
    """File, line and function where the user's code failed, or else where the error was raised."""
    if isinstance(error, SyntaxError) and error.filename:  # a traceback contains only code that ran
        return f"{error.filename}, line {error.lineno}"
    return _user_place(error.__traceback__) or _last_place(error.__traceback__)


def place_of(thing: object) -> str:
    """File and line of a function, a method or a class; empty if unknown."""
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if not inspect.isroutine(thing) and not isinstance(thing, type) and not inspect.ismodule(thing):
        thing = type(thing)
    try:
        file = inspect.getsourcefile(thing)
        if inspect.ismodule(thing):
            return str(file)
        return f"{file}, line {inspect.getsourcelines(thing)[1]}"
    except (OSError, TypeError):
        module = getattr(thing, "__module__", None)
        return f"module {module}" if module else ""


def _user_place(traceback: TracebackType | None) -> str:
    places = [
        place
        for file, module, place in _places(traceback)
        if module.partition(".")[0] != "prefect_cvat" and not is_installed(file)
    ]
    return places[-1] if places else ""


def _last_place(traceback: TracebackType | None) -> str:
    places = [place for _, _, place in _places(traceback)]
    return places[-1] if places else ""


def _places(traceback: TracebackType | None) -> list[tuple[str, str, str]]:
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        place = f"{code.co_filename}, line {traceback.tb_lineno}, in {code.co_name}"
        places.append((code.co_filename, module, place))
        traceback = traceback.tb_next
    return places


def _name(function: Any) -> str:
    return repr(function.__name__ if inspect.ismodule(function) else type(function).__name__)


def is_installed(file: str | None) -> bool:
    """Whether a file belongs to Python or an installed package."""
    if file is None:
        return False
    return file.startswith(_STDLIB) or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)
