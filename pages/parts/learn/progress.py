"""Answers to the lesson's checks, and how they travel in its link.

The link holds one sign a check: a letter for the answer, in the order of the lesson's file, or a
dash. So it says the same in every language, and nothing about who answered.
"""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase

import streamlit as st

from pages.parts.learn.lesson_data import Step

__all__ = ["DONE", "answers", "check_key", "clear", "from_link", "from_text", "to_link", "to_text"]

#: The link's parameter.
DONE = "done"


def to_text(given: Mapping[str, int], steps: Sequence[Step]) -> str:
    """Write answers as one sign a check.

    Parameters
    ----------
    given : mapping of str to int
        By the step's id, which of its choices; steps without an answer are missing.
    steps : sequence of Step

    Examples
    --------
    >>> from pages.parts.learn.lesson_data import lesson
    >>> to_text({"rank": 1, "score": 0}, lesson()["steps"])
    'b-a-----'
    """
    signs = [ascii_lowercase[given[s["id"]]] if s["id"] in given else "-" for s in steps]
    return "".join(signs)


def from_text(text: str, steps: Sequence[Step]) -> dict[str, int]:
    """Read what `to_text` wrote; a sign that is no answer to its check is passed over.

    Examples
    --------
    >>> from pages.parts.learn.lesson_data import lesson
    >>> from_text("b-z-?", lesson()["steps"])
    {'rank': 1}
    """
    found = {}
    for sign, step in zip(text, steps, strict=False):
        at = ascii_lowercase.find(sign)
        if 0 <= at < len(step["check"]["choices"]):
            found[step["id"]] = at
    return found


def check_key(step: str) -> str:
    """Return the key of the widget that asks a step's check."""
    return f"check_{step}"


def answers(steps: Sequence[Step]) -> dict[str, int]:
    """Return this session's answers so far, by step."""
    given = {step["id"]: st.session_state.get(check_key(step["id"])) for step in steps}
    return {step: at for step, at in given.items() if at is not None}


def from_link(steps: Sequence[Step]) -> None:
    """Take the answers of a link over, once: before the first check of a session is drawn."""
    if "lesson_begun" in st.session_state:
        return
    st.session_state.lesson_begun = True
    for step, at in from_text(st.query_params.get(DONE, ""), steps).items():
        st.session_state[check_key(step)] = at


def to_link(steps: Sequence[Step]) -> None:
    """Put this session's answers into the link, or nothing where there are none."""
    text = to_text(answers(steps), steps)
    if not answers(steps):
        st.query_params.pop(DONE, None)
    elif st.query_params.get(DONE) != text:
        st.query_params[DONE] = text


def clear(steps: Sequence[Step]) -> None:
    """Forget all answers; for a button."""
    for step in steps:
        st.session_state[check_key(step["id"])] = None
