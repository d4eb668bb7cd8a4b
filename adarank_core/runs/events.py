"""What a run recorded: reading its ``events.jsonl``, and what that says of a comparison.

A line is an event. What follows the last line's end is still being written and counts as nothing.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from adarank_core.files import event_in

__all__ = ["arm_facts", "finished_results", "last_event", "read_events"]

TAIL = 2048  # bytes; an event is seldom longer


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
        In order; lines that are no event are passed over.
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
        with path.open("rb") as file:
            file.seek(offset)
            added = file.read()
    except OSError:  # nothing is recorded yet
        return (), offset
    whole = added[: added.rfind(b"\n") + 1]
    events = map(event_in, whole.split(b"\n"))
    return tuple(event for event in events if event is not None), offset + len(whole)


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
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            length = TAIL
            while True:
                begin = max(0, size - length)
                file.seek(begin)
                lines = file.read(size - begin).split(b"\n")
                # The first may be the end of a longer one.
                for line in reversed(lines[1 if begin else 0 : -1]):
                    event = event_in(line)
                    if event is not None:
                        return event
                if not begin:
                    return None
                length *= 8
    except OSError:
        return None


def arm_facts(events: Sequence[dict]) -> dict[str, dict]:
    """Collect what is known of every arm so far.

    Returns
    -------
    dict
        By arm, each key only once it is known: ``lora_parameters``; ``residual``, how many it is
        short of the budget; ``learning_rate`` and ``search_seconds``, where it chose one;
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
            kept = ("learning_rate", "search_seconds")
            facts.setdefault(event["arm"], {}).update({key: event[key] for key in kept})
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
    results = {(e["arm"], e["seed"]): e for e in events if e["event"] == "result"}
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
