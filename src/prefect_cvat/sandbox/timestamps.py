"""Moments as CVAT writes them."""

from datetime import UTC, datetime, timedelta


def now() -> str:
    """The present moment, ISO 8601 in UTC with microseconds and a Z."""
    return after(timedelta())


def later_than(text: str) -> str:
    """The present moment, or, where the clock has been put back since, the first one after another."""
    return max(now(), written(read(text) + timedelta(microseconds=1)))


def after(delay: timedelta) -> str:
    """The moment that comes after a delay from now."""
    return written(datetime.now(UTC) + delay)


def written(moment: datetime) -> str:
    """A moment in the form that CVAT's answers use."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read(text: str) -> datetime:
    """The moment that such a text means."""
    return datetime.fromisoformat(text)
