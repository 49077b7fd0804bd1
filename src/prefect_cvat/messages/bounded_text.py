"""Prepares text of functions and servers for messages: bounded, printable, and without secrets."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_cvat.messages.secret_values import hide_secrets

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
"""Maximum length of a message in characters."""

MAX_EXCERPT_LENGTH = 500
"""Maximum length of text from a function or a server within a message."""


class ShortenedError(Exception):
    """Replaces an error of a function or a library whose message is too long or has control characters."""


def shorten(text: str, max_length: int = MAX_MESSAGE_LENGTH) -> str:
    r"""Hide secrets in text, shorten it in its middle, and escape what cannot be printed, except newlines.

    Example:
        `shorten("\x1b[31mred")` is `r"\x1b[31mred"`.
    """
    printable = "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode()
        for letter in _cut(hide_secrets(text), max_length)
    )
    return _cut(printable, max_length)


def escape_unencodable(text: str) -> str:
    """Escape what UTF-8 and JSON cannot encode, such as bytes in file names that are not text."""
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: object, max_length: int = MAX_EXCERPT_LENGTH) -> str:
    """Convert an object to one line of text."""
    # folding white space shortens the text, so cut it later; but do not fold all of 13 MB
    return shorten(" ".join(_cut(hide_secrets(str(text)), 4 * max_length).split()), max_length)


def describe_error(error: BaseException, max_length: int = MAX_EXCERPT_LENGTH) -> str:
    """The type and the message of an error in one line."""
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as another:  # the `__str__` of an error class may fail
        text = f"(its message cannot be had: {type(another).__name__})"
    return one_line(f"{name}: {text}" if text else name, max_length)


def shorten_error(error: BaseException) -> BaseException:
    """Return the error, or a `ShortenedError` if a message is too long, unprintable or has a secret."""
    length = 0
    for each in _chain(error):
        try:
            texts = [str(each), *getattr(each, "__notes__", ())]
        except Exception:  # `__str__` may fail; the `ShortenedError` says so
            texts = ["\0"]
        length += sum(map(len, texts))
        are_shown = all(text.replace("\n", "").isprintable() and hide_secrets(text) == text for text in texts)
        if length > MAX_MESSAGE_LENGTH or not are_shown:
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


def _cut(text: str, max_length: int) -> str:
    if len(text) <= max_length:
        return text
    end = max_length // 4
    return f"{text[: max_length - end - 5]} ... {text[-end:]}"
