"""Links of a room: what a session reads from one and puts back, and how a teacher's are made."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import quote, urlencode, urlsplit

import streamlit as st

from pages.parts.learn.lesson_data import languages, lesson
from pages.parts.learn.progress import answers
from pages.parts.learn.rooms import ROOMS, VISITOR, Attendee, Room, new_visitor
from pages.parts.shared import link
from pages.parts.shared.link import OWN_FILE

__all__ = [
    "link_of",
    "only_here",
    "own_address",
    "choices",
    "enter",
    "hidden",
    "language",
    "put",
    "report",
    "room",
]

OWN = ("step", "run", "study_run", "picked", "toy_guess", "toy_reset")


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
        st.session_state.attendee = visitor if VISITOR.fullmatch(visitor) else new_visitor()
        st.rerun()  # so that the pages' list, which is drawn before, hides what it should
    if "room" in st.session_state:
        put({**st.session_state.room.to_query(every), "me": st.session_state.attendee})
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
        ROOMS.report(room().name, st.session_state.attendee, Attendee(step, answers(steps)))


def own_address() -> str:
    """Return the address at which others reach this server, as far as can be told from here."""
    here = urlsplit(st.context.url or "http://localhost:8501")
    host = here.hostname or "localhost"
    if _is_here(host):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                # Nothing is sent: this only asks which of the machine's addresses would be used.
                probe.connect(("192.0.2.1", 9))
                host = probe.getsockname()[0]
            except OSError:
                pass
    port = "" if here.port is None else f":{here.port}"
    return f"{here.scheme}://{host}{port}"


def only_here(address: str) -> bool:
    """Tell whether a link that begins with this address can be opened on this machine alone.

    Where the server listens on this machine alone, a proxy may still lead others to it: then the
    page itself is seen at the address.
    """
    bound, host = st.get_option("server.address") or "", _host(address)
    return _is_here(host) or (_is_here(bound) and host != _host(st.context.url or ""))


def _host(address: str) -> str:
    with suppress(ValueError):  # such as a [ that is never closed
        return urlsplit(_with_scheme(address)).hostname or ""
    return ""


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):  # a name
        return ip_address(host).is_loopback
    return False


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"http://{address}"


def link_of(address: str, page: str, query: dict) -> str:
    """Return a link into the app.

    Examples
    --------
    >>> link_of("http://192.0.2.7:8501/", "learn", {"room": "a", "task": "ag news"})
    'http://192.0.2.7:8501/learn?room=a&task=ag%20news'
    """
    return f"{_with_scheme(address.strip()).rstrip('/')}/{page}?{urlencode(query, quote_via=quote)}"


def choices() -> dict[str, str]:
    """Return what is chosen and not as usual, for the room's link.

    An uploaded file and runs stay out: they are known to the teacher's session alone.
    """
    said = {name: text for name, text in link.query().items() if name not in OWN}
    if said.get("task") == OWN_FILE:
        del said["task"]
    return said
