"""Timestamps in CVAT's format: ISO 8601, UTC, microseconds, Z."""

from datetime import UTC, datetime, timedelta


def now() -> str:
    """The current time."""
    return after(timedelta())


def later_than(text: str) -> str:
    """The current time, or one microsecond after `text` if the clock has been set back since."""
    return max(now(), written(read(text) + timedelta(microseconds=1)))


def after(delay: timedelta) -> str:
    """The current time plus a delay."""
    return written(datetime.now(UTC) + delay)


def written(moment: datetime) -> str:
    """Format a time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read(text: str) -> datetime:
    """Parse a timestamp."""
    return datetime.fromisoformat(text)
