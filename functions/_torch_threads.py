"""How many threads torch takes while another library has those of the processor."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["available_threads", "torch_on_one_thread"]

_lock = threading.Lock()
_uses = 0
_threads = 0


def available_threads() -> int:
    """The threads that torch takes: `OMP_NUM_THREADS`, or the cores that this process may use."""
    with _lock:
        return _threads if _uses else torch.get_num_threads()


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Let torch compute on the calling thread alone.

    Its other threads do not sleep once they have done their part, but wait for the next one, on the cores
    that OpenVINO then needs.
    """
    global _uses, _threads
    with _lock:
        if not _uses:
            _threads = torch.get_num_threads()
        _uses += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _uses -= 1
        torch.set_num_threads(_threads)
