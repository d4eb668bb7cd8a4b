"""The room that a session is in: read from the link, and put back into it at every page."""

from collections.abc import Sequence

import streamlit as st

from pages.parts.learn.lesson_data import languages, lesson
from pages.parts.learn.progress import answers
from pages.parts.learn.rooms import ROOMS, VISITOR, Attendee, Room, new_visitor

__all__ = ["enter", "hidden", "language", "put", "report", "room"]


def language() -> str:
    """Return the lesson's language: the link's ``lang``, where there is such a file."""
    asked = st.query_params.get("lang", st.session_state.get("lesson_language"))
    st.session_state.lesson_language = asked if asked in languages() else "en"
    return st.session_state.lesson_language


def room() -> Room:
    """Return the room that this session is in; one without a name stands for none."""
    every = tuple(step["id"] for step in lesson(language())["steps"])
    return st.session_state.get("room", Room("", every))


def hidden(part: str) -> bool:
    """Tell whether this session's teacher has hidden something; see `rooms.HIDEABLE`."""
    return part in st.session_state.get("hidden_parts", ())


def enter() -> Room:
    """Take a room over from the link, and put this session's room into it; begins Learn.

    Returns
    -------
    Room
    """
    every = [step["id"] for step in lesson(language())["steps"]]
    asked = Room.from_query(st.query_params, every)
    if asked.name and asked != st.session_state.get("room"):
        visitor = st.query_params.get("me", "")
        st.session_state.room, st.session_state.hidden_parts = asked, asked.hidden
        st.session_state.visitor = visitor if VISITOR.fullmatch(visitor) else new_visitor()
        st.rerun()  # so that the pages' list, which is drawn before, hides what it should
    if "room" in st.session_state:
        put({**st.session_state.room.to_query(every), "me": st.session_state.visitor})
    return room()


def put(wanted: dict[str, str], others: Sequence[str] = ()) -> None:
    """Put parameters into the link, and take ``others`` out unless they are wanted."""
    for key, value in wanted.items():
        if st.query_params.get(key) != value:
            st.query_params[key] = value
    for key in others:
        if key not in wanted:
            st.query_params.pop(key, None)


def report(step: str) -> None:
    """Tell the room's board how far this session is, without a name."""
    if room().name:
        steps = lesson(language())["steps"]
        ROOMS.report(room().name, st.session_state.visitor, Attendee(step, answers(steps)))
