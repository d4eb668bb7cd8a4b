"""The words that a run's settings and state are told by: a link may hold these, and no others."""

import re

from adarank_core.comparison.arms import ARMS
from adarank_core.comparison.sentences import NOBODY
from adarank_core.comparison.verdicts import VERDICTS
from adarank_core.data.tasks import task_names
from adarank_core.lab.studies import STUDIES

__all__ = ["SETTINGS", "STATES", "own_words"]

#: States in the order of interest, and how many runs in them are spoken of.
STATES = {
    "running": "at work",
    "starting": "starting",
    "stopping": "stopping",
    "queued": "queued",
    "interrupted": "interrupted",
    "failed": "failed",
    "damaged": "damaged",
    "cancelled": "cancelled",
    "finished": "finished",
}
#: What runs can be grouped by, beside their state.
SETTINGS = (
    "task", "arms", "rank", "steps", "batch", "rate", "seeds", "model", "verdict", "kind",
)  # fmt: skip
KNOWN = {"compare", "finetune", "lab", "embedded", "embedded-llm"}
KNOWN |= {*STATES, *VERDICTS, NOBODY, *task_names(), *ARMS, *STUDIES}
NUMBER = re.compile(r"-?\d{1,19}(\.\d{1,6})?(e[+-]?\d{1,3})?", re.ASCII)


def own_words(text: str) -> str:
    """Read a value of a setting; raise `ValueError` for a name that somebody gave.

    Examples
    --------
    >>> own_words("uniform, adarank"), own_words("0, 1, 2"), own_words("better (exploratory)")
    ('uniform, adarank', '0, 1, 2', 'better (exploratory)')
    >>> own_words("my-file.csv")
    Traceback (most recent call last):
    ...
    ValueError: my-file.csv
    """
    for word in text.removesuffix(" (exploratory)").split(", "):
        if word not in KNOWN and not NUMBER.fullmatch(word):
            raise ValueError(text)
    return text
