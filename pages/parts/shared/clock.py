"""When a run was started, by the clock of whoever looks at it."""

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from adarank_core.runs.jobs import Run

__all__ = ["local_time", "started", "zone_name"]

STAMP = re.compile(r"\d{8}-\d{6}")
NEVER = datetime.min.replace(tzinfo=UTC)


def started(run: Run) -> datetime:
    """Return when a run was started, to the second.

    A folder that somebody named tells by when it was changed last.

    Examples
    --------
    >>> from pathlib import Path
    >>> started(Run(Path("20261124-230929-000001-compare"), {}, "finished")).isoformat()
    '2026-11-24T23:09:29+00:00'
    """
    try:
        if stamp := STAMP.match(run.folder.name):
            return datetime.strptime(stamp[0], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        return datetime.fromtimestamp(run.folder.stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):  # gone, or a time that no calendar has
        return NEVER


def zone_name() -> str:
    """Return the browser's time zone, such as ``"Europe/Berlin"``; ``"UTC"`` if it tells none."""
    name = st.context.timezone or "UTC"
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return "UTC"
    return name


def local_time(run: Run) -> str:
    """Return the minute in which a run was started, in the browser's time zone.

    Examples
    --------
    >>> from pathlib import Path
    >>> local_time(Run(Path("20261124-230929-000001-compare"), {}, "finished"))
    '2026-11-24 23:09 UTC'
    """
    moment, zone = started(run), zone_name()
    if moment == NEVER:
        return ""
    try:
        told = f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
    except OverflowError:  # beyond the last year, or before the first
        return ""
    return f"{told} UTC" if zone == "UTC" else told
