"""What all sessions of the app share: loaded models, tasks and finished scores, these on disk too.

The only place where ``st.cache_*`` is used. The core's slow modules (they import torch) are
imported inside the functions, so that the first page does not wait for them.
"""

import os
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path

import streamlit as st

from adarank_core.data.task import Task
from adarank_core.data.tasks import load_task
from adarank_core.data.texts import Texts
from adarank_core.limits import hide_token
from adarank_core.runs.run_queue import Turn
from adarank_core.scoring.known_scores import keep_known, known, model_revision
from adarank_core.scoring.scores import Scores
from pages.parts.shared import visitor

# Threads that wait must not spin for long: runs in the background share the cores with the page.
# Read when torch is imported, which is later.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
hide_token()

__all__ = [
    "finished_scores",
    "is_loaded",
    "keep_scores",
    "looked_at",
    "model",
    "scores_key",
    "task",
]

MOST_MODELS, MOST_TASKS, MOST_SCORES, MOST_LOOKS = 3, 8, 200, 300
LOOKING = threading.Lock()  # one look at a time: they are short, and runs need the cores


def model(name: str, labels: int = 2):
    """Load a model once for all sessions, and again where its folder has changed.

    Parameters
    ----------
    name : str
        ``"embedded"``, a Hub id or a local folder.
    labels : int
        Outputs of its classification head.

    Returns
    -------
    adarank_core.ModelBundle
        Shared: scoring never writes to it, and whoever trains must load a copy of its own.
    """
    return _model(name, labels, model_revision(name) if Path(name).is_dir() else "")


@st.cache_resource(max_entries=MOST_MODELS, show_spinner="Loading the model …")
def _model(name: str, labels: int, revision: str):
    from adarank_core.scoring.models import load_model

    return load_model(name, labels=labels)


def task(name: str, progress: Callable[[str, float], None] | None = None) -> Task:
    """Load a task once for all sessions.

    Parameters
    ----------
    name : str
        One of `adarank_core.data.tasks.task_names`, or the path of a file or folder.
    progress : callable, optional
        Called with a message and the share done, while the task is loaded for the first time.

    Returns
    -------
    adarank_core.Task
    """
    # st.cache_resource itself would refuse a progress bar that was drawn outside the function.
    found = _tasks().get(name)
    return _tasks().put(name, load_task(name, progress)) if found is None else found


def is_loaded(name: str) -> bool:
    """Return whether `task` would answer at once."""
    return _tasks().get(name) is not None


def scores_key(
    model_name: str, labels: int, texts: Texts, trials: int | None, seed: int, owner: str = ""
) -> tuple:
    """Return all that scores depend on; two equal keys have equal scores.

    Those of a visitor's own texts have the visitor in it: nobody else is told that they were known.

    Examples
    --------
    >>> from adarank_core.data.texts import sentence
    >>> one, other = sentence("A rank."), sentence("Another rank.")
    >>> scores_key("embedded", 2, one, 5, 0) == scores_key("embedded", 2, other, 5, 0)
    False
    """
    return (
        model_name,
        model_revision(model_name),
        labels,
        texts.source,
        len(texts),
        texts.sha256,
        texts.sampled,
        trials,
        seed,
        owner,
    )


def finished_scores(key: tuple) -> Scores | None:
    """Return scores that were finished on this machine, or ``None``."""
    scores = _scores().get(key)
    if scores is None and (scores := known(key)) is not None:
        _scores().put(key, scores)
    return scores


def keep_scores(key: tuple, scores: Scores) -> None:
    """Keep finished scores for all sessions, and for the next start of the app."""
    _scores().put(key, scores)
    keep_known(key, scores)


def looked_at(key: tuple, look: Callable):
    """Return what a closer look at one module found, computed once for all sessions.

    Parameters
    ----------
    key : tuple
        All that it depends on.
    look : callable
    """
    if (found := _looks().get(key)) is not None:
        return found
    turn = Turn(visitor.runs_home())  # in the queue of runs, which is fair among visitors
    try:
        while turn.place() > 0:
            time.sleep(1)
        with LOOKING:
            found = _looks().get(key)
            return _looks().put(key, look()) if found is None else found
    finally:
        turn.end()


class Store:
    """What all sessions share, by key; sessions are threads, and beyond a number the oldest goes.

    Parameters
    ----------
    most : int

    Examples
    --------
    >>> store = Store(1)
    >>> store.put("a", 1), store.put("b", 2), store.get("a")
    (1, 2, None)
    """

    def __init__(self, most: int):
        self._most, self._values, self._lock = most, {}, threading.Lock()

    def get(self, key: Hashable):
        """Return what is kept by a key, or ``None``."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value):
        """Keep a value by a key, and return it: it may be dropped at any time."""
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._most:
                del self._values[next(iter(self._values))]
        return value


@st.cache_resource(show_spinner=False)
def _tasks() -> Store:
    return Store(MOST_TASKS)


@st.cache_resource(show_spinner=False)
def _scores() -> Store:
    return Store(MOST_SCORES)


@st.cache_resource(show_spinner=False)
def _looks() -> Store:
    return Store(MOST_LOOKS)
