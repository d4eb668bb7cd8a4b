"""What a run recorded: reading its ``events.jsonl``, and what that says of a comparison.

A line is an event. What follows the last line's end is still being written and counts as nothing.
A folder may come from anywhere: a line that is not of its kind's shape is passed over, so that who
is given events need not look again.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NotRequired

from annotated_types import Interval
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.comparison.verdicts import Count, RunEntry, Seed
from adarank_core.errors import AdaRankError
from adarank_core.files import check_file, event_in
from adarank_core.schemas import STRICT, Name, Text, validated

__all__ = [
    "MEGABYTES",
    "arm_facts",
    "ends_in_noise",
    "finished_results",
    "last_event",
    "read_events",
]

MEGABYTES = 100  # of events are read; a long comparison has 10
TAIL = 2048  # bytes; an event is seldom longer
LONGEST_TAIL = 2**20  # bytes; where there is no event in so many there is none
MOST_WRONG = 10_000  # lines that are no event are looked at; what comes after them is not read
Moment = Annotated[float, Interval(ge=0, le=1e11)]  # seconds since 1970
Number = Annotated[float, Interval(ge=-1e15, le=1e15)]  # no sum or product of some overflows


class _Event(TypedDict):
    __pydantic_config__ = STRICT
    event: Text
    time: NotRequired[Moment]
    message: NotRequired[Text]


class _Queued(_Event):
    place: Count


class _Step(_Event):
    step: Count
    arm: NotRequired[Name]
    seed: NotRequired[Seed]
    search: NotRequired[Number]
    train_loss: NotRequired[Number]
    validation_loss: NotRequired[Number]
    validation_accuracy: NotRequired[Number]
    examples_per_second: NotRequired[Number]
    memory_mb: NotRequired[Number]


class _OfArm(_Event):
    arm: Name
    seed: Seed
    search: NotRequired[Number]


class _Study(_Event):
    done: Count
    total: Count
    now: Text


class _StepOfArm(_Step):
    arm: Name
    seed: Seed


class _Score(_OfArm):
    done: Count
    total: Annotated[int, Interval(ge=1, le=10**12)]


class _Budget(TypedDict):
    __pydantic_config__ = STRICT
    lora_parameters: NotRequired[Count]


class _Plan(_OfArm):
    budget: _Budget
    residual: NotRequired[Annotated[int, Interval(ge=-(10**12), le=10**12)] | None]


class _Chosen(_Event):
    arm: Name
    learning_rate: Number
    learning_rate_at_edge: NotRequired[bool]
    search_seconds: Number
    validation_loss: NotRequired[dict[Text, Number | None]]


class _ArmFailed(_OfArm):
    message: Text


class _Result(_OfArm, RunEntry):
    lora_parameters: Count
    allocation_seconds: Number


# By kind: what a training tells by itself, and what it tells as an arm of a comparison.
ALONE = {"step": _Step, "evaluation": _Step, "resumed": _Step, "result": _Event, "queued": _Queued}
ALONE |= {"study": _Study}
OF_ARM = {"step": _StepOfArm, "evaluation": _StepOfArm, "resumed": _StepOfArm, "score": _Score}
OF_ARM |= {"plan": _Plan, "chosen": _Chosen, "arm-failed": _ArmFailed, "result": _Result}


def read_events(path: Path, offset: int = 0) -> tuple[tuple[dict, ...], int]:
    """Read the events from a place in a file on, to go on from where the last reading ended.

    Parameters
    ----------
    path : pathlib.Path
        It need not be there yet.
    offset : int
        In bytes: 0, or what an earlier call returned.

    Returns
    -------
    events : tuple of dict
        In order; lines that are no event are passed over, and after 10,000 of them all others.
    offset : int
        Where the next reading begins.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.jsonl"
    >>> _ = path.write_text('{"event": "started"}\\n{"event": "fin')
    >>> read_events(path)
    (({'event': 'started'},), 21)
    >>> read_events(path, 21)
    ((), 21)
    """
    try:
        check_file(path, MEGABYTES)
        with path.open("rb") as file:
            file.seek(offset)
            added = file.read()
    except (OSError, AdaRankError):  # nothing is recorded yet
        return (), offset
    whole = added[: added.rfind(b"\n") + 1]
    return tuple(_events_in(io.BytesIO(whole))), offset + len(whole)


def _events_in(lines: Iterable[bytes]) -> Iterator[dict]:
    """Yield the events in some lines, up to where there are too many lines that are none."""
    wrong = 0
    for line in lines:
        event = _checked_event(line)
        if event is not None:
            yield event
        elif (wrong := wrong + 1) == MOST_WRONG:
            return


def _checked_event(line: bytes) -> dict | None:
    """Read a line as an event; None where it is none, or not of its kind's shape."""
    event = event_in(line)
    if event is None or not isinstance(kind := event["event"], str):
        return None
    known = kind in OF_ARM or kind in ALONE
    schema = (OF_ARM if "arm" in event else ALONE).get(kind) if known else _Event
    try:
        return None if schema is None else validated(event, schema, "the event")
    except AdaRankError:
        return None


def last_event(path: Path) -> dict | None:
    """Return the last event of a file, reading from its end no more than it takes.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.jsonl"
    >>> _ = path.write_text('{"event": "started"}\\n{"event": "finished"}\\n')
    >>> last_event(path)
    {'event': 'finished'}
    """
    try:
        check_file(path, MEGABYTES)
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            length = TAIL
            while length <= LONGEST_TAIL:
                begin = max(0, size - length)
                file.seek(begin)
                lines = file.read(size - begin).split(b"\n")
                # The first may be the end of a longer one.
                lines = filter(None, reversed(lines[1 if begin else 0 : -1]))
                event = next(_events_in(lines), None)
                if event is not None or not begin:
                    return event
                length *= 8
    except (OSError, AdaRankError):
        pass
    return None


def ends_in_noise(path: Path) -> bool:
    """Tell whether a file ends in what no run writes, or has lines and no event among them.

    A run writes lines of printable ASCII; one that was killed leaves the beginning of a line.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "events.jsonl"
    >>> _ = path.write_bytes(b'{"event": "started"}\\n{"event": "st')
    >>> ends_in_noise(path)
    False
    >>> _ = path.write_bytes(b"\\x8f\\x00\\xe3")
    >>> ends_in_noise(path)
    True
    """
    try:
        check_file(path, MEGABYTES)
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = file.read().split(b"\n")
    except (OSError, AdaRankError):  # nothing is recorded yet
        return False
    last = next(filter(None, map(bytes.strip, reversed(lines))), b"")
    if not (last.isascii() and last.decode("ascii").isprintable()):
        return True
    return bool(last) and len(lines) > 1 and last_event(path) is None


def arm_facts(events: Sequence[dict]) -> dict[str, dict]:
    """Collect what is known of every arm so far.

    Returns
    -------
    dict
        By arm, each key only once it is known: ``lora_parameters``; ``residual``, how many it is
        short of the budget; ``learning_rate``, ``learning_rate_at_edge`` and ``search_seconds``,
        where it chose one;
        ``failed``, why it was given up.

    Examples
    --------
    >>> plan = {"event": "plan", "arm": "uniform", "seed": 0, "residual": 0}
    >>> arm_facts([{**plan, "budget": {"lora_parameters": 1024}}])
    {'uniform': {'lora_parameters': 1024, 'residual': 0}}
    """
    facts: dict[str, dict] = {}
    failed: dict[tuple, str] = {}
    for event in events:
        kind = event["event"]
        if kind == "step":  # nearly all events are
            continue
        if kind == "started":  # what had failed is tried again
            failed.clear()
        elif kind == "plan":
            failed.pop((event["arm"], event["seed"]), None)  # it is tried once more
            about = facts.setdefault(event["arm"], {})
            if "lora_parameters" in event["budget"]:
                about["lora_parameters"] = event["budget"]["lora_parameters"]
            if "residual" in event:
                about["residual"] = event["residual"]
        elif kind == "chosen":
            kept = ("learning_rate", "learning_rate_at_edge", "search_seconds")
            found = {key: event[key] for key in kept if key in event}
            facts.setdefault(event["arm"], {}).update(found)
        elif kind == "arm-failed":
            failed[event["arm"], event["seed"]] = event["message"]
    for (arm, seed), why in failed.items():
        facts.setdefault(arm, {})["failed"] = f"seed {seed}: {why}"
    return facts


def finished_results(events: Sequence[dict]) -> dict[str, dict]:
    """Collect what has been tested so far, in the shape of a verdict's ``arms``.

    Returns
    -------
    dict
        By arm: ``lora_parameters``, ``allocation_seconds`` (mean) and ``runs``, one a seed.

    Examples
    --------
    >>> result = {"event": "result", "arm": "uniform", "seed": 0, "lora_parameters": 1024,
    ...           "allocation_seconds": 0.0, "test_loss": 0.5}
    >>> finished_results([result, result])["uniform"]["runs"]
    [{'seed': 0, 'test_loss': 0.5}]
    """
    told = (event for event in events if event["event"] == "result" and "arm" in event)
    results = {(event["arm"], event["seed"]): event for event in told}
    arms: dict[str, dict] = {}
    for (arm, _), result in results.items():
        about = arms.setdefault(
            arm, {"lora_parameters": result["lora_parameters"], "seconds": [], "runs": []}
        )
        about["seconds"].append(result["allocation_seconds"])
        left_out = ("event", "time", "arm", "lora_parameters", "allocation_seconds")
        about["runs"].append({key: result[key] for key in result if key not in left_out})
    for about in arms.values():
        seconds = about.pop("seconds")
        about["allocation_seconds"] = sum(seconds) / len(seconds)
    return arms
