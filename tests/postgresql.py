"""A PostgreSQL server for the database of a Prefect server: that of the system, started for the tests."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ports import free_port

START_SECONDS = 60


class PostgreSQL:
    """A PostgreSQL server on loopback, with its data in a folder of its own.

    Attributes:
        url: Its address, as Prefect expects it in PREFECT_API_DATABASE_CONNECTION_URL.
        pid: The process that all others of it are children of.
    """

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self.url = f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
        self._programs, self._folder = programs, folder
        self._options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("initdb", "--username=prefect", "--auth=trust", "--encoding=UTF8", "--no-sync")

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        log = str(self._folder.with_name("log"))
        self._run(
            "pg_ctl", "start", "--wait", f"--timeout={START_SECONDS}", f"--log={log}", "-o", self._options
        )

    @property
    def pid(self) -> int:
        return int((self._folder / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """Stop it, as if its machine had lost power."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), f"--pgdata={self._folder}", *arguments]
        # the output goes to a file: the server inherits it, and a pipe would stay open as long as it runs
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=self._folder.parent, **_user()
            )
            output.seek(0)
            assert done.returncode == 0, f"{program} ended with {done.returncode}: {output.read()}"


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start a server with an empty database, and stop it at the end.

    Raises:
        FileNotFoundError: PostgreSQL is not installed.
    """
    programs = postgresql_programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not installed: apt-get install postgresql")
    port = free_port()
    # not a folder of pytest: those are closed to other users
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as folder:
        if user := _user():
            shutil.chown(folder, user["user"])
        server = PostgreSQL(programs, Path(folder) / "data", port)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def postgresql_programs() -> Path | None:
    """The folder with the newest `initdb` and `pg_ctl` of Debian, or that of the path; None without any."""
    newest = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version, default=None)
    found = newest or shutil.which("initdb")
    return None if found is None else Path(found).parent


def _version(program: Path) -> int:
    return int(program.parts[-3])


def _user() -> dict[str, Any]:
    """The user for its processes: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
