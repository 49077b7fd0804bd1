"""Counts of runs and webhooks for Prometheus; off unless `PREFECT_CVAT_METRICS_PORT` is set.

Each run is a process of its own, which ends with the run. So runs add to totals in a file of the machine, and
a process that stays (`prefect-cvat serve`, or `python -m prefect_cvat.metrics` beside a worker of Prefect)
answers Prometheus from that file.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from threading import Event
from typing import TYPE_CHECKING

from prefect_cvat.files.folder_permissions import create_file, make_folder
from prefect_cvat.settings import Settings, current_settings

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["COUNTERS", "add_counts", "read_counts", "serve_metrics"]

logger = logging.getLogger(__name__)

COUNTERS = {
    "prefect_cvat_frames": ("Frames annotated.", "detections"),
    "prefect_cvat_stage_seconds": ("Seconds of the stages of batches.", "stage"),
    "prefect_cvat_runs": ("Runs that have ended.", "outcome"),
    "prefect_cvat_errors": ("Errors of stages of batches, retried ones included.", "error"),
    "prefect_cvat_slot_wait_seconds": ("Seconds that runs have waited in the queue for slots.", "limit"),
}
"""The counters, each with its help text and the name of its label."""

_TABLE = (
    "CREATE TABLE IF NOT EXISTS count"
    " (name TEXT, label TEXT, value REAL NOT NULL, PRIMARY KEY (name, label)) WITHOUT ROWID"
)
_ADD = "INSERT INTO count VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"

LOCK_SECONDS = 5.0
"""How long to wait for other runs that write."""


def add_counts(counts: Mapping[tuple[str, str], float]) -> None:
    """Add to counters, each given by its name and the value of its label; nothing unless metrics are on.

    A run never fails because of them: if the file cannot be written, a warning is logged.
    """
    if current_settings().metrics_port is None:
        return
    try:
        with _database() as database:
            database.executemany(_ADD, [(name, label, value) for (name, label), value in counts.items()])
    except (OSError, sqlite3.Error) as error:
        logger.warning("metrics could not be written: %s; the run continues", error)


def read_counts() -> dict[tuple[str, str], float]:
    """The totals of this machine, by name and label.

    Raises:
        OSError: The file cannot be created.
        sqlite3.Error: It cannot be read.
    """
    with _database() as database:
        rows = database.execute("SELECT name, label, value FROM count ORDER BY name, label").fetchall()
    return {(name, label): value for name, label, value in rows}


def serve_metrics(gauges: Mapping[str, tuple[str, Callable[[], float]]] | None = None) -> bool:
    """Answer Prometheus at the port of the settings, in a thread; False if metrics are off.

    Args:
        gauges: Further numbers: by name, a help text and what reads the number.

    Raises:
        OSError: The port is in use.
    """
    port = Settings().metrics_port
    if port is None:
        return False
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(_Collector(gauges or {}))
    start_http_server(port, addr=Settings().metrics_host, registry=registry)
    return True


class _Collector:
    def __init__(self, gauges: Mapping[str, tuple[str, Callable[[], float]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counts = read_counts()
        for name, (text, label) in COUNTERS.items():
            family = CounterMetricFamily(name, text, labels=[label])
            for (counter, value), total in counts.items():
                if counter == name:
                    family.add_metric([value], total)
            yield family
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=read())


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    folder = Settings().cache_dir / "metrics"
    make_folder(folder, within=Settings().cache_dir)
    create_file(path := folder / "counts.sqlite3")
    with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as database, database:
        database.execute(_TABLE)
        yield database


def main() -> None:
    """Answer Prometheus until interrupted: for machines with a worker of Prefect."""
    if not serve_metrics():
        raise SystemExit("PREFECT_CVAT_METRICS_PORT is not set; set it to the port that Prometheus is to ask")
    Event().wait()


if __name__ == "__main__":
    main()
