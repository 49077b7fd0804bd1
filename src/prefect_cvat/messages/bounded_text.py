"""Text from functions and servers, made fit to be shown: of bounded length, without control characters."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = [
    "MAX_MESSAGE_LENGTH",
    "ShortenedError",
    "describe_error",
    "escape_unencodable",
    "one_line",
    "shorten",
    "shorten_error",
]

MAX_MESSAGE_LENGTH = 1000
"""How long a message is at the most."""

MAX_EXCERPT_LENGTH = 500
"""How much of that a text from a function or a server takes."""


class ShortenedError(Exception):
    """Replaces an error of a function or a library whose message is too long or has control characters."""


def shorten(text: str, most: int = MAX_MESSAGE_LENGTH) -> str:
    r"""Shorten text in its middle, and escape what cannot be printed, except newlines.

    Example:
        `shorten("\x1b[31mred")` is `r"\x1b[31mred"`.
    """
    printable = "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in _cut(text, most)
    )
    return _cut(printable, most)


def escape_unencodable(text: str) -> str:
    """Escape what UTF-8, and so JSON, cannot hold, such as bytes of a file's name that are no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: object, most: int = MAX_EXCERPT_LENGTH) -> str:
    """The text of something as one line, which may stand within a message."""
    # folding white space makes it shorter, so take more than is kept; but not all of 13 MB
    return shorten(" ".join(_cut(str(text), 4 * most).split()), most)


def describe_error(error: BaseException, most: int = MAX_EXCERPT_LENGTH) -> str:
    """The type of an error and what it says, in one line."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as another:  # the `__str__` of an error class may fail
        text = f"(its message cannot be had: {type(another).__name__})"
    return one_line(f"{name}: {text}" if text else name, most)


def shorten_error(error: BaseException) -> BaseException:
    """The error; or a `ShortenedError` with its traceback, where it or one of its causes says too much."""
    length = 0
    for each in _chain(error):
        try:
            texts = [str(each), *getattr(each, "__notes__", ())]
        except Exception:  # `__str__` may fail; the `ShortenedError` says so
            texts = ["\0"]
        length += sum(map(len, texts))
        if length > MAX_MESSAGE_LENGTH or not all(text.replace("\n", "").isprintable() for text in texts):
            return ShortenedError(describe_error(error)).with_traceback(error.__traceback__)
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _chain(each)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 4
    return f"{text[: most - end - 5]} ... {text[-end:]}"
