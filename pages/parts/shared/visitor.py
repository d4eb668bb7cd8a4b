"""Who is looking: a visitor of a demo has runs and uploads of his own, and sees no others."""

from pathlib import Path

import streamlit as st

from adarank_core.data.tasks import task_names
from adarank_core.files import runs_folder
from adarank_core.limits import is_walled
from adarank_core.runs import visitors
from pages.parts.shared.walls import COOKIE, WORD, new_word

__all__ = ["owner", "owner_of", "runs_home"]


def owner() -> str:
    """Return the visitor's word; empty where nobody is told from anybody.

    It is that of the browser's cookie, which the server sets with the first page. A browser that
    keeps none is a new visitor each time the page is loaded.
    """
    if not is_walled():
        return ""
    if "visitor" not in st.session_state:
        word = st.context.cookies.get(COOKIE, "")
        st.session_state.visitor = word if WORD.fullmatch(word) else new_word()
    return st.session_state.visitor


def owner_of(source: str, text: str) -> str:
    """Return whose scores of a text are: a visitor's where the text is his own, else nobody's.

    Parameters
    ----------
    source : {"generic", "task", "sentence"}
    text : str
        The sentence or the task.

    Examples
    --------
    >>> owner_of("generic", "")
    ''
    """
    named = source == "generic" or (source == "task" and text in task_names())
    return "" if named else owner()


def runs_home() -> Path:
    """Return the folder with all runs that may be seen, cancelled, fetched or deleted from here."""
    word = owner()
    if not word:
        return runs_folder()
    visitors.sweep()
    return visitors.home_of(word)
