"""The command `gateway`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import click
from pydantic import Field, SecretStr

from prefect_cvat.cli.command import command, is_given
from prefect_cvat.cli.console import stdout
from prefect_cvat.options.gateway_options import GatewayOptions
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

if TYPE_CHECKING:
    from prefect_cvat.gateway import GatewayConfiguration

__all__ = ["gateway"]


class _Functions(OptionModel):
    group: ClassVar[str] = "Functions"

    function: Annotated[
        Sequence[str],
        OnCommandLine(metavar="NAME"),
        Field(description="Built-in function, such as nanodet_detection."),
    ] = ()
    function_module: Annotated[
        Sequence[str], OnCommandLine(metavar="MODULE"), Field(description="Module to use as a function.")
    ] = ()
    function_file: Annotated[
        Sequence[Path], OnCommandLine(metavar="PATH"), Field(description="Python file to use as a function.")
    ] = ()
    config: Annotated[
        Path | None,
        OnCommandLine(metavar="FILE"),
        Field(description="YAML file with functions, their titles, parameters and label maps, and options."),
    ] = None


@command
def gateway(functions: _Functions, options: GatewayOptions) -> None:
    """Serve functions to CVAT's own pages, without Nuclio.

    CVAT shows them under "AI tools": detectors, interactors and trackers. The secret that CVAT must send is
    PREFECT_CVAT_GATEWAY_SECRET; without it a random one is made, and printed with the lines to set in CVAT.
    On SIGHUP the configuration is read again.

    \b
    Example:
      prefect-cvat gateway --function nanodet_detection --function grabcut_interaction --function-file mine.py
      prefect-cvat gateway --config gateway.yaml --preload
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.gateway import Gateway, serve_gateway
    from prefect_cvat.settings import Settings

    def read() -> GatewayConfiguration:
        return _configuration(functions, options)

    configuration = read()
    if not configuration.functions:
        raise click.BadParameter("give --function, --function-module, --function-file or --config")
    logging.getLogger("prefect_cvat.gateway").setLevel(logging.INFO)
    secret = Settings().gateway_secret
    server = Gateway(configuration, secret=secret)

    def say_what_to_set() -> None:
        if secret is None:
            _print_secret(server.secret, server.port)

    serve_gateway(server, read, say_what_to_set)


def _configuration(functions: _Functions, options: GatewayOptions) -> GatewayConfiguration:
    """What the file and the command line say; a given option replaces that of the file."""
    from prefect_cvat.gateway import GatewayConfiguration, ServedFunction, read_configuration

    given = [ServedFunction(function=name) for name in functions.function]
    given += [ServedFunction(function_module=name) for name in functions.function_module]
    given += [ServedFunction(function_file=path) for path in functions.function_file]
    if functions.config is None:
        return GatewayConfiguration.of(options).changed(functions=given)
    configuration = read_configuration(functions.config)
    values = {name: getattr(options, name) for name in GatewayOptions.model_fields if is_given(name)}
    return configuration.changed(**values, functions=[*configuration.functions, *given])


def _print_secret(secret: SecretStr, port: int) -> None:
    value = secret.get_secret_value()
    stdout.print(
        "CVAT must send a secret. Set these for its server and its annotation worker, in the environment:\n"
        '  CVAT_SERVERLESS: "1"\n'
        f"  CVAT_NUCLIO_HOST: the address of this machine, as CVAT sees it\n"
        f'  CVAT_NUCLIO_PORT: "{port}"\n'
        "  CVAT_NUCLIO_INVOKE_METHOD: dashboard\n"
        f"  CVAT_NUCLIO_FUNCTION_NAMESPACE: {value}\n"
        "To keep the secret, set it here too:\n"
        f"  PREFECT_CVAT_GATEWAY_SECRET={value}",
        markup=False,
    )
