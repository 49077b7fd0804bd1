"""Replies that a proxy or a broken server may send in place of a chunk."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from changing_proxy import HTML, Change, Reply


def sign_in_page(_: Reply) -> Reply:
    return Reply(headers=(("Content-Type", HTML),), body=b"<html><title>Sign in</title></html>")


def no_content(_: Reply) -> Reply:
    return Reply(204, headers=())


def empty_body(reply: Reply) -> Reply:
    return replace(reply, body=b"")


def half_without_length(reply: Reply) -> Reply:
    """Half of the chunk, without a `Content-Length` that would show that the rest is missing."""

    def raw() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        yield reply.body[: len(reply.body) // 2]

    return replace(reply, raw=raw)


def damage_chunks(damage: Callable[[Reply], Reply], numbers: set[str], times: int) -> Change:
    """Damage the first replies with each of these chunks.

    Args:
        damage: Makes the damaged reply.
        numbers: Of the chunks.
        times: How many replies with each chunk are damaged.
    """
    damaged: Counter[str] = Counter()
    lock = threading.Lock()

    def change(_method: str, path: str, reply: Reply) -> Reply:
        query = parse_qs(urlsplit(path).query)
        [number] = query.get("number", [""])
        with lock:
            if query.get("type") != ["chunk"] or number not in numbers or damaged[number] >= times:
                return reply
            damaged[number] += 1
        return damage(reply)

    return change
