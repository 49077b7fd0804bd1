"""Commands with options from models: types, bounds, defaults, descriptions and groups."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, Union, get_args, get_origin

import annotated_types
import click
from pydantic.fields import FieldInfo

from prefect_cvat.cli.debug import debug_option
from prefect_cvat.messages.argument_names import arguments_as_options
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = [
    "TASK_ID",
    "Command",
    "Only",
    "TaskId",
    "TaskIds",
    "Without",
    "command",
    "command_group",
    "is_given",
]

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # not generic before click 8.4

HELP: Final = {"help_option_names": ["-h", "--help"]}

TASK_ID = click.IntRange(1, 2**31 - 1)

TaskId = Annotated[int, click.Argument(["task_id"], type=TASK_ID)]
"""The task that a command is about."""

TaskIds = Annotated[
    tuple[int, ...], click.Argument(["task_ids"], type=TASK_ID, nargs=-1, metavar="[TASK_ID]...")
]
"""The tasks that a command is about, if it takes several."""


class Without(frozenset[str]):
    """The options of a model that a command leaves out."""

    def __new__(cls, *names: str) -> Self:
        """Name the options."""
        return super().__new__(cls, names)


class Only(Without):
    """The options of a model that a command has; it leaves out all others."""


class Command(click.Command):
    """A command that shows its options in groups, and accepts `--debug`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.append(debug_option(hidden=True))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, with a heading for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if isinstance(option, click.Option) and (record := option.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(option, "group", ""), []).append(record)
        general = groups.pop("", [])
        for heading, records in (*groups.items(), ("Options", general)):
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def is_given(*options: str) -> bool:
    """Whether one of these options was given, for the command or for its parent."""
    context: click.Context | None = click.get_current_context()
    while context is not None:
        sources = map(context.get_parameter_source, options)
        if any(source is not None and source.name == "COMMANDLINE" for source in sources):
            return True
        context = context.parent
    return False


class ModelOption(click.Option):
    """An option of a model."""

    def __init__(self, model: type[OptionModel], name: str, field: FieldInfo) -> None:
        face = OnCommandLine.of(field)
        kind = _Kind.of(field.annotation, field.metadata)
        default = field.get_default(call_default_factory=True)
        super().__init__(
            [name, *(face.flag or f"--{name.replace('_', '-')}").split()],
            type=kind.type,
            is_flag=kind.type is click.BOOL,
            multiple=kind.is_repeated,
            required=field.is_required(),
            default=None if field.is_required() else default.value if isinstance(default, Enum) else default,
            show_default=default is not False,
            metavar=face.metavar,
            help=f"{field.description}" + (" May be repeated." if kind.is_repeated else ""),
        )
        self.group = model.group_of(name)


@dataclass(frozen=True)
class _Kind:
    type: click.ParamType[Any]
    is_repeated: bool = False

    @classmethod
    def of(cls, annotation: Any, notes: Collection[Any]) -> _Kind:
        """The click type for a type; click validates all but text, and the model validates again."""
        origin, inner = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return cls.of(inner[0], [*notes, *inner[1:]])
        if origin in (Union, UnionType):
            kinds = [part for part in inner if part is not NoneType]
            return cls(NUMBERS) if len(kinds) > 1 else cls.of(kinds[0], notes)
        if origin is Literal:
            return cls(click.Choice(inner))
        if inspect.isclass(origin) and issubclass(origin, Mapping):
            return cls(JSON_OBJECT)
        if inspect.isclass(origin) and issubclass(origin, Collection):
            if inner[0] is int:
                return cls(NUMBERS)
            return cls(cls.of(inner[0], ()).type, is_repeated=True)
        if issubclass(annotation, Enum):
            return cls(click.Choice([member.value for member in annotation]))
        return cls(_plain_type(annotation, notes))


def _plain_type(annotation: type, notes: Collection[Any]) -> click.ParamType[Any]:
    if annotation is bool:
        return click.BOOL
    if issubclass(annotation, Path):
        return click.Path(path_type=Path)
    if annotation in (str, datetime):  # the model reads the time
        return click.STRING
    bounds = [bound for note in notes for bound in (note.metadata if isinstance(note, FieldInfo) else [note])]
    low: Any = next((each.ge for each in bounds if isinstance(each, annotated_types.Ge)), None)
    above: Any = next((each.gt for each in bounds if isinstance(each, annotated_types.Gt)), None)
    high: Any = next((each.le for each in bounds if isinstance(each, annotated_types.Le)), None)
    in_range = click.IntRange if annotation is int else click.FloatRange
    return in_range(low if above is None else above, high, min_open=above is not None)


class _Numbers(_ParamType):
    """Numbers and ranges as text, parsed by the model. An empty text is refused here."""

    name = "ranges"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an empty text."""
        if not value.strip():
            try:
                NumberRanges.parse(value)
            except ValueError as error:
                self.fail(str(error), param, ctx)
        return value


class _JsonObject(_ParamType):
    """A JSON object, as text or in a file."""

    name = "json|file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if not isinstance(value, str):
            return value
        try:
            text = value if value.lstrip().startswith("{") else Path(value).read_text(encoding="utf-8")
            found = json.loads(text)
        except (OSError, ValueError) as error:
            self.fail(f"neither JSON nor a file of JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail("must be an object, by label", param, ctx)
        return found


NUMBERS = _Numbers()
JSON_OBJECT = _JsonObject()


def command(function: Callable[..., None]) -> Command:
    """Make a command from a function.

    For each parameter annotated with a model, the command has the options of the model, in groups; `Without`
    and `Only` select them. Other parameters are annotated with the click parameter. Models may share options.
    """
    models: dict[str, tuple[type[OptionModel], list[str]]] = {}
    params: dict[str, click.Parameter] = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        inner = get_args(parameter.annotation) if get_origin(parameter.annotation) is Annotated else ()
        model = inner[0] if inner else parameter.annotation
        if inspect.isclass(model) and issubclass(model, OptionModel):
            choice = next((note for note in inner if isinstance(note, Without)), Without())
            fields = {
                option: field
                for option, field in model.model_fields.items()
                if (option in choice) is isinstance(choice, Only) and not field.exclude
            }
            models[name] = model, list(fields)
            params |= {
                option: ModelOption(model, option, field)
                for option, field in fields.items()
                if option not in params
            }
        elif inner:
            params[name] = inner[1]

    def call(**values: Any) -> None:
        names = {name: param.opts[0] for name, param in params.items() if isinstance(param, click.Option)}
        click.get_current_context().with_resource(arguments_as_options({**names, "verify": "--insecure"}))
        try:
            given = {
                name: model(**{option: values[option] for option in options})
                for name, (model, options) in models.items()
            }
        except ValueError as error:  # the message has the names of the command line
            raise click.UsageError(str(error)) from None
        others = {name: values[name] for name in inspect.signature(function).parameters if name not in models}
        function(**given, **others)

    return Command(
        function.__name__.replace("_", "-"),
        params=list(params.values()),
        callback=call,
        help=inspect.getdoc(function),
        context_settings=HELP,
    )


def command_group(name: str, itself: Command | str, **commands: Command) -> click.Group:
    """A command with subcommands.

    Args:
        name: Its name.
        itself: The command that runs without a subcommand, or the help text if there is none.
        commands: The subcommands by name.
    """
    if isinstance(itself, str):
        return _Group(name, help=itself, commands=commands, context_settings=HELP, no_args_is_help=True)
    return _Group(
        name,
        help=itself.help,
        params=[param for param in itself.params if param.name != "debug"],
        callback=itself.callback,
        commands=commands,
        invoke_without_command=True,
        context_settings=HELP,
    )


class _Group(Command, click.Group):
    """A command with subcommands."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the subcommands."""
        Command.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)
