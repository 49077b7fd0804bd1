"""The command `prefect-cvat`. It has the words of cvat-cli where cvat-cli has them."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from prefect_cvat.auto_annotation import annotate_task, loading
from prefect_cvat.client import Client
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.report import RunReport
from prefect_cvat.upload import Existing

__all__ = ["main"]

app = typer.Typer(
    name="prefect-cvat",
    help="Auto-annotation of CVAT tasks with machine-learning models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
functions_app = typer.Typer(help="The functions that come with prefect-cvat.", no_args_is_help=True)
app.add_typer(functions_app, name="functions")

stdout = Console(soft_wrap=True, highlight=False)
stderr = Console(stderr=True, soft_wrap=True, highlight=False)


@dataclass
class Server:
    """How to reach the server, from the options before the subcommand."""

    host: str
    port: int | None
    auth: str | None
    access_token: str | None
    organization: str | None
    insecure: bool

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """Connect and log in."""
        url = self.host if self.port is None else f"{self.host.rstrip('/')}:{self.port}"
        with Client(
            url, organization=self.organization, verify=not self.insecure, access_token=self._token()
        ) as client:
            if self.auth is not None:
                user, colon, password = self.auth.partition(":")
                if not colon:
                    password = os.environ.get("PASS") or typer.prompt(
                        f"Password of {user}", hide_input=True, err=True
                    )
                client.login((user, password))
            elif self._token() is None:
                raise typer.BadParameter(
                    "no credentials: pass --auth USER[:PASS] or --access-token, or set CVAT_ACCESS_TOKEN"
                )
            yield client

    def _token(self) -> str | None:
        return None if self.auth is not None else self.access_token


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
    debug: Annotated[bool, typer.Option("--debug", help="Show what happens, and tracebacks.")] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Auto-annotation of CVAT tasks with machine-learning models."""
    context.obj = Server(server_host, server_port, auth, access_token, organization, insecure)
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s: %(message)s"
    )
    logging.getLogger("prefect_cvat").setLevel(logging.DEBUG if debug else logging.WARNING)


@app.command()
def annotate(
    context: typer.Context,
    task_id: Annotated[int, typer.Argument(help="Number of the task.")],
    function_name: Annotated[
        str | None, typer.Option("--function", metavar="NAME", help="A built-in, such as nanodet_detection.")
    ] = None,
    function_module: Annotated[
        str | None, typer.Option(metavar="MODULE", help="Name of a module to use as the function.")
    ] = None,
    function_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Python file to use as the function.")
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--function-parameter", "-p", metavar="NAME=TYPE:VALUE", help="Parameter of the function."
        ),
    ] = None,
    clear_existing: Annotated[
        bool, typer.Option("--clear-existing", help="Replace what the task has; same as --existing clear.")
    ] = False,
    existing: Annotated[
        Existing | None, typer.Option(help="What becomes of the annotations that the task has.")
    ] = None,
    allow_unmatched_labels: Annotated[
        bool, typer.Option("--allow-unmatched-labels", help="Drop what the task has no label for.")
    ] = False,
    conf_threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Least score.")] = None,
    conv_mask_to_poly: Annotated[
        bool, typer.Option("--conv-mask-to-poly", help="Write polygons instead of masks.")
    ] = False,
    label_map: Annotated[
        str | None,
        typer.Option(
            metavar="JSON|FILE", help='Where labels go whose names differ: {"truck": "car", "dog": null}.'
        ),
    ] = None,
    frames: Annotated[
        str | None, typer.Option(metavar="RANGES", help="Frames to annotate: 0-99,150.")
    ] = None,
    jobs: Annotated[str | None, typer.Option(metavar="IDS", help="Jobs to annotate: 12,13.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Most frames of a batch.")] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to run the model: auto, cpu, cuda, cuda:1, mps.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as JSON to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Annotate a task.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate 123 --function nanodet_detection --conf-threshold 0.5
    """
    function = _load_function(function_name, function_module, function_file, parameters, device)
    with context.obj.connect() as client, _progress_bar() as pbar:
        done = annotate_task(
            client,
            task_id,
            function,
            pbar=pbar,
            clear_existing=clear_existing,
            existing=existing,
            allow_unmatched_labels=allow_unmatched_labels,
            conf_threshold=conf_threshold,
            conv_mask_to_poly=conv_mask_to_poly,
            label_map=_read_label_map(label_map),
            frames=None if frames is None else _read_ranges(frames, "--frames"),
            jobs=None if jobs is None else _read_ranges(jobs, "--jobs"),
            batch_size=batch_size,
        )
    if report is not None:
        report.write_text(done.model_dump_json(indent=2), encoding="utf-8")
    if as_json:
        typer.echo(done.model_dump_json(indent=2))
    else:
        for line in done.lines():
            stdout.print(line, markup=False)


@functions_app.command("list")
def list_functions() -> None:
    """List the built-in functions."""
    for name in loading.builtin_functions():
        stdout.print(name, markup=False)


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
    """Run a server on this machine that speaks like CVAT, to try things out."""
    from prefect_cvat.sandbox import serve

    serve(data=data, host=host, port=port, user=user, password=password)


@app.command()
def demo(
    report: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the page.")] = Path(
        "demo-report.html"
    ),
) -> None:
    """Annotate photographs in a sandbox with NanoDet, through the Prefect flow, and draw the result."""
    from prefect_cvat.demo import run_demo

    done = run_demo(report, lambda line: stdout.print(line, markup=False))
    stdout.print(_table(done))
    stdout.print(f"drawn in {report.resolve()}", markup=False)


def _table(report: RunReport) -> Table:
    table = Table(title=f"task {report.task_id}: {report.frames} frames")
    table.add_column("label")
    table.add_column("shapes", justify="right")
    for name, count in sorted(report.labels.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(name, str(count))
    table.add_section()
    table.add_row("all labels", str(sum(report.labels.values())))
    table.add_row("frames", str(report.frames))
    table.add_row("seconds", f"{report.seconds:.1f}")
    table.add_row("frames per second", f"{report.frames_per_second:.1f}")
    return table


def _load_function(
    name: str | None, module: str | None, file: Path | None, parameters: list[str] | None, device: str | None
) -> Any:
    if sum(choice is not None for choice in (name, module, file)) != 1:
        raise typer.BadParameter("give one of --function, --function-module and --function-file")
    try:
        values = dict(map(loading.parse_parameter, parameters or ()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="-p") from None
    if device is not None:
        values["device"] = device
    if module is not None:
        return loading.load_function_module(module, values)
    if file is not None:
        return loading.load_function_file(file, values)
    assert name is not None
    return loading.load_function(name, values)


def _read_label_map(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text(encoding="utf-8")
        label_map = json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(
            f"neither JSON nor a file of JSON: {error}", param_hint="--label-map"
        ) from None
    if not isinstance(label_map, dict):
        raise typer.BadParameter("must be an object, from label to label", param_hint="--label-map")
    return label_map


def _read_ranges(text: str, option: str) -> list[int]:
    numbers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            numbers += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise typer.BadParameter(f"{part!r} is neither a number nor a range", param_hint=option) from None
    return numbers


@contextmanager
def _progress_bar() -> Iterator[Any]:
    """A bar on a terminal; elsewhere nothing but what the caller prints."""
    with tqdm(desc="Annotating", unit=" frames", disable=not sys.stderr.isatty(), file=sys.stderr) as bar:
        yield bar


def main() -> None:
    """Run the command line. Exits with 0 when done, 1 when it failed, 2 when it was called wrongly."""
    debug = "--debug" in sys.argv
    try:
        app(prog_name="prefect-cvat")
    except PrefectCvatError as error:
        if debug:
            raise
        _fail(str(error), 1)
    except ValueError as error:
        if debug:
            raise
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted; run it again to complete it", 130)


def _fail(message: str, code: int) -> None:
    stderr.print(f"error: {message}", markup=False, style="red")
    sys.exit(code)
