"""The command `prefect-cvat`. It has the words of cvat-cli where cvat-cli has them."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from prefect_cvat.auto_annotation import loading
from prefect_cvat.cli.annotate import annotate
from prefect_cvat.cli.evaluate import evaluate
from prefect_cvat.cli.export import export
from prefect_cvat.cli.operations import serve, setup
from prefect_cvat.cli.options import (
    ConfThreshold,
    Device,
    FunctionFile,
    FunctionModule,
    FunctionName,
    FunctionParameters,
    Server,
    check_output_file,
    load_chosen_function,
    read_ranges,
)
from prefect_cvat.cli.output import (
    escape_what_cannot_be_shown,
    open_what_is_closed,
    spec_lines,
    stderr,
    stdout,
)
from prefect_cvat.cli.refine import refine
from prefect_cvat.cli.runs import runs_app
from prefect_cvat.cli.track import track
from prefect_cvat.cli.undo import undo
from prefect_cvat.cli.webhooks import webhooks
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.files.output_file import write_text
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.inference.detection_cache import DetectionCache
from prefect_cvat.inference.detector import Detector
from prefect_cvat.messages.argument_names import arguments_as_options
from prefect_cvat.messages.bounded_text import bounded
from prefect_cvat.messages.plurals import counted
from prefect_cvat.options.selection import Selection
from prefect_cvat.reporting import preview as previewing
from prefect_cvat.runs.report import RunReport
from prefect_cvat.termination import Terminated, end_in_order_on_sigterm

__all__ = ["main"]

FRAMES_SHOWN = 4
"""How many frames of a task are shown where none are named."""

OPTIONS = {"shape_types": "--shape-type", "sources": "--source", "verify": "--insecure"}
"""Options with other names than the arguments in Python."""


class _Commands(TyperGroup):
    """The subcommands. Typer itself would end on Ctrl-C with exit code 130, and without a message."""

    def invoke(self, context: Any) -> Any:
        """Run a subcommand; say how to go on when somebody interrupts it."""
        try:
            return super().invoke(context)
        except typer.BadParameter as error:
            error.message = bounded(error.message)
            raise
        except KeyboardInterrupt as interruption:
            _say("interrupted; run it again to complete it", interruption)
            raise typer.Exit(130) from None
        except Terminated as termination:  # it has said so itself
            _say_notes(termination)
            raise


app = typer.Typer(
    name="prefect-cvat",
    cls=_Commands,
    help="Auto-annotation of CVAT tasks with machine-learning models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
functions_app = typer.Typer(help="The functions that come with prefect-cvat.", no_args_is_help=True)
app.add_typer(functions_app, name="functions")
cache_app = typer.Typer(help="Detections that are kept between runs.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")
app.add_typer(runs_app, name="runs")
app.command()(annotate)
app.command()(track)
app.command()(refine)
app.command()(undo)
app.command()(evaluate)
app.command()(export)
app.command()(setup)
app.command()(serve)
app.command()(webhooks)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"prefect-cvat {version('prefect-cvat')}")
        raise typer.Exit


@app.callback()
def common_options(
    context: typer.Context,
    server_host: Annotated[str, typer.Option(help="Address of the CVAT server.")] = "localhost",
    server_port: Annotated[
        int | None, typer.Option(help="Port, if it is not in the address; 443 or 80 by default.")
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="USER[:PASS]",
            help="User and password; without the password it is taken from PASS, or asked for.",
        ),
    ] = None,
    access_token: Annotated[
        str | None,
        typer.Option(envvar="CVAT_ACCESS_TOKEN", show_envvar=True, help="A personal access token."),
    ] = None,
    organization: Annotated[
        str | None, typer.Option("--organization", "--org", metavar="SLUG", help="Organization to work in.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Do not verify TLS certificates.")] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show what happens, and tracebacks; taken after the subcommand too."),
    ] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Auto-annotation of CVAT tasks with machine-learning models."""
    context.with_resource(arguments_as_options(OPTIONS))
    context.obj = Server(server_host, server_port, auth, access_token, organization, insecure)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s: %(message)s"
    )
    logging.getLogger("prefect_cvat").setLevel(logging.DEBUG if debug else logging.WARNING)


@functions_app.command("list")
def list_functions() -> None:
    """List the built-in functions."""
    for name in loading.builtin_functions():
        stdout.print(name, markup=False)


@functions_app.command("show")
def show_function(
    name: Annotated[str, typer.Argument(help="A built-in, such as nanodet_detection.")],
    parameters: FunctionParameters = None,
) -> None:
    """Show the labels that a built-in function can find, the shapes that it follows, or what prompts it.

    \b
    Example:
      prefect-cvat functions show torchvision_detection -p model_name=str:fasterrcnn_resnet50_fpn
    """  # noqa: D301 (\b keeps click from joining the lines)
    function = load_chosen_function(name, None, None, parameters, None)
    for line in spec_lines(function.spec):
        stdout.print(line, markup=False)


@app.command()
def preview(
    context: typer.Context,
    images: Annotated[list[Path] | None, typer.Argument(help="Image files.")] = None,
    task: Annotated[
        int | None,
        typer.Option(
            "--task", min=1, max=2**31 - 1, metavar="TASK_ID", help="Look at frames of a task instead."
        ),
    ] = None,
    frames: Annotated[
        str | None, typer.Option(metavar="RANGES", help="Which frames of the task; by default the first 4.")
    ] = None,
    function_name: FunctionName = None,
    function_module: FunctionModule = None,
    function_file: FunctionFile = None,
    parameters: FunctionParameters = None,
    conf_threshold: ConfThreshold = None,
    conv_mask_to_poly: Annotated[
        bool, typer.Option("--conv-mask-to-poly", help="Have polygons instead of masks.")
    ] = False,
    device: Device = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            resolve_path=True,
            help="Where to write the page.",
            callback=check_output_file,
        ),
    ] = Path("preview.html"),
) -> None:
    """Run a function on images and draw what it finds. Nothing on a server is touched.

    \b
    Example:
      prefect-cvat preview photo.jpg --function nanodet_detection
    """  # noqa: D301 (\b keeps click from joining the lines)
    if (task is None) == (not images):
        raise typer.BadParameter("give image files, or a task with --task")
    function = load_chosen_function(function_name, function_module, function_file, parameters, device)
    detector = Detector(function, conf_threshold=conf_threshold, conv_mask_to_poly=conv_mask_to_poly)
    if task is None:
        page, done = previewing.preview(detector, previewing.open_image_files(images or []))
    else:
        selection = Selection(frames=None if frames is None else read_ranges(frames, "--frames"))
        most = FRAMES_SHOWN if frames is None else None
        with spool_folder() as folder, context.obj.connect() as client:
            opened = previewing.open_task_frames(client, task, selection, folder, most)
            page, done = previewing.preview(detector, opened)
    write_text(output, page)
    for name, count in sorted(done.labels.items(), key=lambda item: (-item[1], item[0])):
        stdout.print(f"{count} {name}", markup=False)
    stdout.print(f"drawn in {output.resolve()}", markup=False)


@cache_app.command("show")
def show_cache() -> None:
    """Show where detections are kept, and how many."""
    cache = DetectionCache()
    count, size = cache.size()
    stdout.print(
        f"{cache.folder}: {counted(count, 'entry', 'entries')}, {size / 2**20:.1f} MiB", markup=False
    )


@cache_app.command("clear")
def clear_cache() -> None:
    """Delete all detections that are kept."""
    stdout.print(f"{counted(DetectionCache().clear(), 'entry', 'entries')} deleted", markup=False)


@app.command()
def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on; a loopback one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8080,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to keep its data; by default a temporary folder."),
    ] = None,
    user: Annotated[str, typer.Option(help="Name of its user.")] = "admin",
    password: Annotated[str, typer.Option(help="Password of its user.")] = "admin",  # noqa: S107
) -> None:
    """Run a server on this machine that speaks like CVAT, to try things out.

    \b
    Example:
      prefect-cvat sandbox --port 8080 --data ./sandbox
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.sandbox import serve as serve_sandbox

    serve_sandbox(data=data, host=host, port=port, user=user, password=password)


@app.command()
def demo(
    report: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write the page.", callback=check_output_file)
    ] = Path("demo-report.html"),
) -> None:
    """Annotate photographs and a video in a sandbox with NanoDet, through the Prefect flows, and draw them.

    \b
    Example:
      prefect-cvat demo --report demo.html
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.cli.demo import run_demo

    for done in run_demo(report, lambda line: stdout.print(line, markup=False)):
        stdout.print(_table(done))
    stdout.print(f"drawn in {report.resolve()}", markup=False)


def _table(report: RunReport) -> Table:
    table = Table(title=f"task {report.task_id}: {counted(report.frames, 'frame')}")
    table.add_column("label")
    table.add_column("found", justify="right")
    for name, count in sorted(report.labels.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(name, str(count))
    table.add_section()
    table.add_row("all labels", str(sum(report.labels.values())))
    if report.tracks:
        table.add_row("tracks", str(sum(report.tracks.values())))
        table.add_row("keyframes", str(report.keyframes))
    table.add_row("frames", str(report.frames))
    table.add_row("seconds", f"{report.seconds:.1f}")
    table.add_row("frames per second", f"{report.frames_per_second:.1f}")
    return table


def main() -> None:
    """Run the command line.

    Exits with 0 when done, 1 when it failed, 2 when it was called wrongly, 130 when it was interrupted, and
    143 when it was terminated.
    """
    open_what_is_closed()
    escape_what_cannot_be_shown()
    end_in_order_on_sigterm()
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    if debug:  # it belongs before the subcommand, and is as often written after it
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    try:
        app(arguments, prog_name="prefect-cvat")
    except PrefectCvatError as error:
        if debug:
            raise
        _fail(error, 1)
    except ValueError as error:
        if debug:
            raise
        _fail(error, 2)


def _fail(error: Exception, code: int) -> None:
    _say(f"error: {bounded(str(error))}", error)
    sys.exit(code)


def _say(message: str, error: BaseException) -> None:
    """Say how a command ended, and what is noted about that."""
    stderr.print(message, markup=False, emoji=False, style="red")
    _say_notes(error)


def _say_notes(error: BaseException) -> None:
    for note in getattr(error, "__notes__", ()):
        stderr.print(bounded(note), markup=False, emoji=False)
