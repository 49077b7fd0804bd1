"""Settings of a machine or of a deployment, by environment variables named `PREFECT_CVAT_*`.

They are for the operator of a machine, not for the user who starts a run: which modules may be loaded, where
files are stored, secrets. docs/operations.md has them as a table.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["Settings", "current_settings"]


_STARTED_IN = Path.cwd()
"""Base of relative paths: a function may change the working directory later."""


class Settings(BaseSettings):
    """The present settings. Created where they are needed, so that changes of the environment take effect.

    That takes about three milliseconds; `current_settings` is for what is done in each run.

    Raises:
        pydantic.ValidationError: A variable has an invalid value.
    """

    model_config = SettingsConfigDict(env_prefix="PREFECT_CVAT_", env_ignore_empty=True, frozen=True)

    cache_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("prefect-cvat")),
        description=(
            "Where detections and converted models are kept between runs, and the locks of runs. On storage"
            " that several machines share, what one of them has detected the others need not."
        ),
    )
    runs_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("prefect-cvat")) / "runs",
        description=(
            "Folder of the records of runs, with what they wrote, which `prefect-cvat undo` and `saved` read."
            " On storage that several machines share, each of them can undo the runs of the others. With"
            " `annotate shards` each machine records its shards, and that of the flow run the issues."
        ),
    )
    exports_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("prefect-cvat")) / "exports",
        description=(
            "Folder of the datasets that the flow `export task` writes, each in a folder of its own. On"
            " storage that several machines share, a training job finds them whatever worker has written"
            " them."
        ),
    )
    learned_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("prefect-cvat")) / "learned",
        description=(
            "Folder of what `prefect-cvat learn` has learned from corrections, a file for each project. On"
            " storage that several machines share, each of them annotates with what another has learned."
        ),
    )
    profiles_file: Path = Field(
        default_factory=lambda: Path(platformdirs.user_config_dir("prefect-cvat")) / "profiles.toml",
        description="The file of the servers and logins that `--profile` of the command line names.",
    )
    late_commit_seconds: float = Field(
        default=65.0,
        ge=0,
        description=(
            "How many seconds after a write that it has not answered (a time-out, a reset, 502, 503, 504) the"
            " CVAT server may still carry it out. The proxy that comes with CVAT gives up after 60 s; raise"
            " this where another one waits for longer."
        ),
    )
    stale_read_seconds: float = Field(
        default=10.0,
        ge=0,
        description=(
            "How many seconds what is read from the CVAT server may be behind what has been written to it."
            " What is missing for longer is sent again."
        ),
    )
    function_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Prefixes of the modules, separated by commas, that may be loaded as functions by their name in"
            " flows. Built-in and registered functions may always be."
        ),
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description=(
            "The secret that CVAT signs webhooks with. Without it, that of the Prefect block"
            " `secret/cvat-webhook` is taken, which `prefect-cvat setup --webhook` makes."
        ),
    )
    webhook_max_bytes: int = Field(
        default=2**20, ge=1024, description="The most bytes that a webhook may have; larger ones are refused."
    )
    gateway_secret: SecretStr | None = Field(
        default=None,
        description=(
            "The secret that CVAT sends to the gateway: its CVAT_NUCLIO_FUNCTION_NAMESPACE. Without it,"
            " `prefect-cvat gateway` makes a random one at each start, and prints it."
        ),
    )
    max_image_bytes: int = Field(
        default=192 * 2**20,
        ge=2**22,
        description=(
            "Maximum memory in bytes for decoding one image, its file included, or one frame of a video;"
            " larger ones are refused. The default is enough for a JPEG of 46 megapixels and 16 MiB, for one"
            " that is progressive of 19 megapixels, and for WEBP of 12. Raise it where your images are larger"
            " and the machine has more memory. `track` with a detection function takes 142606336 unless it is"
            " set: its libraries need memory too."
        ),
    )
    max_spool_bytes: int = Field(
        default=2**29,
        ge=0,
        description=(
            "Maximum size in bytes of the chunks that a run has on disk. The batch in work has all of its"
            " chunks there, also if they alone are larger."
        ),
    )
    runtime: Literal["auto", "torch"] = Field(
        default="auto",
        description=(
            "What runs models on a processor where a function's `runtime` is `auto`: OpenVINO where it is"
            " installed, or always `torch`."
        ),
    )
    cluster: str | None = Field(
        default=None,
        description=(
            "Where the flow `annotate shards` runs its shards: the address of a Dask scheduler"
            " (`tcp://host:8786`) or of a Ray cluster (`ray://host:10001`), or `dask` or `ray` for a cluster"
            " of this machine. Without it they run in threads of the flow run."
        ),
    )

    pages_dir: Path | None = Field(
        default=None,
        description=(
            "Folder in which flows write a page to review the frames of each run. The run in Prefect links to"
            " it. Without a folder, flows write no pages. Delete old ones as you like."
        ),
    )
    pages_url: str | None = Field(
        default=None,
        description=(
            "The address at which a web server of yours serves `PREFECT_CVAT_PAGES_DIR`, such as"
            " `https://reports.example.com/cvat`. Without it, links lead to files of the worker."
        ),
    )
    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description=(
            "The port at which `prefect-cvat serve`, `prefect-cvat webhooks` and `python -m"
            " prefect_cvat.metrics` answer Prometheus. If set, runs count frames, seconds and errors."
        ),
    )
    metrics_host: str = Field(
        default="127.0.0.1", description="The address at which metrics are served; `0.0.0.0` for all."
    )

    @field_validator("cache_dir", "runs_dir", "exports_dir", "learned_dir", "profiles_file", "pages_dir")
    @classmethod
    def _resolve(cls, path: Path | None) -> Path | None:
        return None if path is None else _STARTED_IN / path

    @field_validator("function_modules", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value


def current_settings() -> Settings:
    """The present settings, read again only if the environment has changed."""
    return _settings_in(tuple(os.environ.items()))


@lru_cache(maxsize=1)
def _settings_in(_environment: tuple[tuple[str, str], ...]) -> Settings:
    return Settings()
