"""Functions that are made for a task: their factory takes the task's labels.

A factory with the keyword parameter `task_labels` is called when the labels of the task are known: after the
run was planned, and before the function is validated against the task. A factory without it is called at
once, and an object that is a function already is used as it is.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from prefect_cvat.auto_annotation.factory_calls import (
    call_factory,
    check_parameters,
    is_needed,
    takes,
    takes_no_prompts,
)
from prefect_cvat.auto_annotation.function_calls import close_function
from prefect_cvat.auto_annotation.labels_for_factories import Prompts, TaskLabel, parse_labels
from prefect_cvat.exceptions import FunctionLoadError

__all__ = ["ForTask", "FunctionForTask", "make_function", "takes_prompts", "wait_for_labels"]


class FunctionForTask:
    """A function that is made when the labels of its task are known.

    Args:
        create: Its factory, with a parameter `task_labels`; or one with `prompts` only.
        parameters: The other arguments of the factory. `task_labels` among them, as names or in the form of
            CVAT, take the place of the labels of any task.
        name: The name of the function.
        members: The functions that it is made of, where these were loaded before: for each task it is made
            of the same ones, and they are closed with this.

    Attributes:
        made_for: What the function was made for, as JSON: the labels and prompts. Empty before it is made.
        is_of_run: Whether a run has made this of a factory, and closes it at its end.

    Raises:
        FunctionLoadError: The factory does not take these parameters, or the labels are invalid.
    """

    def __init__(
        self,
        create: Callable[..., Any],
        parameters: Mapping[str, Any] | None = None,
        *,
        name: str,
        members: Sequence[Any] = (),
    ) -> None:
        self.name = name
        self._members = tuple(members)
        self._create = create
        self._parameters = dict(parameters or {})
        self._labels: tuple[TaskLabel, ...] | None = None
        self._takes_labels = takes(create, "task_labels")
        if self._takes_labels and (given := self._parameters.pop("task_labels", None)) is not None:
            try:
                self._labels = parse_labels(given)
            except ValueError as error:
                raise FunctionLoadError(f"the task_labels of function {name!r}: {error}") from None
        labels = {"task_labels": ()} if self._takes_labels else {}
        check_parameters(create, {**self._parameters, **labels}, name)
        self._wraps: tuple[Callable[[Any], Any], ...] = ()
        self._made: Any = None
        self.made_for = ""
        self.is_of_run = False

    @property
    def spec(self) -> object:
        """Asked for where no task is known.

        Raises:
            FunctionLoadError: Always: what the function finds depends on the labels.
        """
        raise self._needs_labels()

    @property
    def device(self) -> str | None:
        """The device that its factory was given; None if it may choose."""
        device = self._parameters.get("device")
        return None if device is None else str(device)

    @property
    def may_choose_device(self) -> bool:
        """Whether its factory takes a device, and was given none or `auto`."""
        return takes(self._create, "device") and self.device in (None, "", "auto")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The arguments of its factory, without labels."""
        return self._parameters

    @property
    def nested_functions(self) -> Sequence[Any]:
        """The functions that it is made of, where these were loaded before."""
        return self._members

    @property
    def takes_prompts(self) -> bool:
        """Whether it can be said what to look for, by label; of an ensemble, to one of its functions."""
        waiting = [each for each in self._members if isinstance(each, FunctionForTask)]
        return takes(self._create, "prompts") and (not waiting or any(each.takes_prompts for each in waiting))

    def wrapped(self, wrap: Callable[[Any], Any]) -> FunctionForTask:
        """A function that is made of this one, such as one that runs it on tiles.

        Args:
            wrap: Makes it, of the made function.
        """
        outer = self.changed()
        outer._wraps = (*self._wraps, wrap)
        return outer

    def changed(self, **parameters: Any) -> FunctionForTask:
        """The same with other parameters of the factory; those that it does not take are ignored."""
        taken = {name: value for name, value in parameters.items() if takes(self._create, name)}
        other = FunctionForTask(
            self._create,
            {**self._parameters, **({"task_labels": self._labels} if self._takes_labels else {}), **taken},
            name=self.name,
            members=self._members,
        )
        other._wraps = self._wraps
        return other

    def use_device(self, device: str) -> None:
        """Make it on this device if it may choose one, and those of its members that may."""
        if self.may_choose_device:
            self._parameters["device"] = device
        for member in self._members:
            if isinstance(member, FunctionForTask):
                member.use_device(device)

    def make(self, labels: Sequence[TaskLabel] | None, prompts: Prompts | None = None) -> Any:
        """Make the function; where it was made for the same labels and prompts, that one is returned.

        One that was made for others is closed before.

        Args:
            labels: The labels of the task; None where there is no task. The factory is then called without
                labels if it can be.
            prompts: What to look for, by label; None for the `prompts` among the parameters, if any.

        Raises:
            FunctionLoadError: The factory failed, it takes no prompts, or there are no labels.
            BadFunctionError: The labels and prompts do not fit each other.
        """
        labels = self._labels if self._labels is not None else labels
        parameters = self._parameters if prompts is None else {**self._parameters, "prompts": prompts}
        if not self._takes_labels:
            labels = None
        elif labels is not None:
            parameters = {**parameters, "task_labels": tuple(labels)}
        elif is_needed(self._create, "task_labels"):
            raise self._needs_labels()
        if prompts is not None and not self.takes_prompts:
            raise takes_no_prompts(self.name)
        made_for = json.dumps(
            [[asdict(label) for label in labels or ()], parameters.get("prompts")],
            default=repr,
            sort_keys=True,
        )
        if self._made is None or made_for != self.made_for:
            self.close_made()
            function = call_factory(self._create, parameters, self.name)
            for wrap in self._wraps:
                function = wrap(function)
            self._made, self.made_for = function, made_for
        return self._made

    def close(self) -> None:
        """Close the function, if it was made, and its members: it cannot be made any more."""
        self.close_made()
        for member in self._members:
            close_function(member)

    def close_made(self) -> None:
        """Close the function, if it was made; it can be made again."""
        made, self._made = self._made, None
        if made is not None:
            close_function(made)

    def _needs_labels(self) -> FunctionLoadError:
        return FunctionLoadError(
            f"function {self.name!r} is made for the labels of a task, and there is no task here; give the"
            """ labels as its parameter task_labels, on the command line -p 'task_labels=json:["car"]'"""
        )


ForTask = FunctionForTask | Callable[..., Any]
"""A function that is made for a task: as it was loaded, or its factory."""


def wait_for_labels(function: Any) -> Any:
    """Take a factory with a parameter `task_labels` for its function; all else is returned as it is.

    Raises:
        FunctionLoadError: The factory needs further parameters.
    """
    is_object = not isinstance(function, type) and inspect.getattr_static(function, "spec", None) is not None
    if isinstance(function, FunctionForTask) or is_object or not callable(function):
        return function
    if not takes(function, "task_labels"):
        return function
    waiting = FunctionForTask(function, name=_name_of(function))
    waiting.is_of_run = True
    return waiting


def takes_prompts(function: Any) -> bool:
    """Whether it can be said to a function what to look for, by label.

    Args:
        function: A function as it was loaded, or a factory.
    """
    waiting = wait_for_labels(function)
    return isinstance(waiting, FunctionForTask) and waiting.takes_prompts


def make_function(
    function: Any, labels: Sequence[TaskLabel] | None = None, prompts: Prompts | None = None
) -> Any:
    """The function to call: where it was loaded to wait for labels, it is made now.

    Args:
        function: A function as it was loaded.
        labels: The labels of the task; None where there is no task, so that its parameters must name them.
        prompts: What to look for, by label.

    Raises:
        FunctionLoadError: It cannot be made: it has no labels, or takes no prompts.
        BadFunctionError: The labels and prompts do not fit each other.
    """
    if isinstance(function, FunctionForTask):
        return function.make(labels, prompts)
    if prompts is not None:
        raise takes_no_prompts(function.__name__ if inspect.ismodule(function) else type(function).__name__)
    return function


def _name_of(create: Any) -> str:
    while isinstance(create, functools.partial):
        create = create.func
    name = str(getattr(create, "__name__", type(create).__name__))
    return str(create.__module__) if name == "create" else name
