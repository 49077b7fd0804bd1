"""`prefect-cvat` or Python code in a process of its own, forked from one that has imported PyTorch: that takes seconds.

Test how a new interpreter handles its environment (encodings, memory, closed files) with `python -m`.
"""

import atexit
import contextlib
import importlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NoReturn

PYTORCH = ("torch", "torchvision")


def run_command(
    *arguments: object, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `prefect-cvat` with these arguments; the result has what it printed."""
    return _run_forked("prefect-cvat", arguments, timeout, environment)


def run_command_text(
    *arguments: object, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `prefect-cvat` with these arguments; the result has what it printed, as text."""
    return _as_text(_run_forked("prefect-cvat", arguments, timeout, environment))


def run_code(
    code: str,
    *arguments: object,
    imported: tuple[str, ...] = PYTORCH,
    timeout: float = 120,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run Python code as `python -c` does, in a process forked from one that has imported these modules.

    The result has what it printed, as text.
    """
    return _as_text(_run_forked("-c", arguments, timeout, environment, code, imported))


def _as_text(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def _run_forked(
    name: str,
    arguments: Iterable[object],
    timeout: float,
    environment: dict[str, str],
    code: str | None = None,
    imported: tuple[str, ...] = PYTORCH,
) -> subprocess.CompletedProcess[bytes]:
    words = [name, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        request = {
            "words": words,
            "code": code,
            "env": {**os.environ, "COLUMNS": "200", **environment},
            "current_folder": str(Path.cwd()),
            "folder": folder,
        }
        server = _server(imported)
        server.stdin.write(json.dumps(request).encode() + b"\n")
        server.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(server.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                _stop(server)
                raise subprocess.TimeoutExpired(words, timeout)
        exit_code = int(server.stdout.readline())
        printed = [Path(folder, name).read_bytes() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(words, exit_code, *printed)


@cache
def _server(imported: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start the process that forks."""
    server = subprocess.Popen(
        [sys.executable, __file__, *imported],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(_stop, server)
    return server


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End it and its child processes."""
    _server.cache_clear()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, 9)
    server.wait()


def _serve() -> None:
    """Import the modules that the arguments name, fork for each request, and print the exit code."""
    for name in sys.argv[1:]:
        importlib.import_module(name)

    import prefect_cvat.cli.main
    import prefect_cvat.cli.run_output
    import prefect_cvat.http.transport  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(**request)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _run(
    words: list[str], code: str | None, env: dict[str, str], current_folder: str, folder: str
) -> NoReturn:
    """Be `prefect-cvat`, or the interpreter of code."""
    from prefect_cvat.cli.main import main

    os.environ.clear()
    os.environ.update(env)
    os.chdir(current_folder)
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), number)
    sys.argv = words
    status = 0
    try:
        if code is None:
            main()
        else:
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of tests hides nothing that the command imports
    _serve()
