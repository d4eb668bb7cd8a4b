"""What all sessions of the app share: loaded models, tasks and finished scores.

The only place where ``st.cache_*`` is used. The core's slow modules (they import torch) are
imported inside the functions, so that the first page does not wait for them.
"""

import os
from collections import OrderedDict
from collections.abc import Callable

import streamlit as st

from adarank_core.data.task import Task
from adarank_core.data.tasks import load_task
from adarank_core.data.texts import Texts
from adarank_core.scoring.scores import Scores

# Threads that wait must not spin for long: runs in the background share the cores with the page.
# Read when torch is imported, which is later.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__all__ = ["finished_scores", "keep_scores", "model", "scores_key", "task"]

MOST_MODELS, MOST_TASKS, MOST_SCORES = 3, 8, 200


@st.cache_resource(max_entries=MOST_MODELS, show_spinner="Loading the model …")
def model(name: str, labels: int = 2):
    """Load a model once for all sessions.

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
    tasks = _tasks()
    if name not in tasks:
        _put(tasks, name, load_task(name, progress), MOST_TASKS)
    return tasks[name]


def scores_key(model_name: str, labels: int, texts: Texts, trials: int, seed: int) -> tuple:
    """Return all that scores depend on; two equal keys have equal scores.

    Examples
    --------
    >>> from adarank_core.data.texts import sentence
    >>> one, other = sentence("A rank."), sentence("Another rank.")
    >>> scores_key("embedded", 2, one, 5, 0) == scores_key("embedded", 2, other, 5, 0)
    False
    """
    return (model_name, labels, texts.source, len(texts), texts.sha256, trials, seed)


def finished_scores(key: tuple) -> Scores | None:
    """Return scores that any session of this process finished, or ``None``."""
    return _scores().get(key)


def keep_scores(key: tuple, scores: Scores) -> None:
    """Keep finished scores for all sessions; beyond 200 the oldest are dropped."""
    _put(_scores(), key, scores, MOST_SCORES)


@st.cache_resource(show_spinner=False)
def _tasks() -> OrderedDict:
    return OrderedDict()


@st.cache_resource(show_spinner=False)
def _scores() -> OrderedDict:
    return OrderedDict()


def _put(store: OrderedDict, key, value, most: int) -> None:
    store[key] = value
    while len(store) > most:
        store.popitem(last=False)
