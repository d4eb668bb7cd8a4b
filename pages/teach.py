"""Teach: one link for a room, and a board of how far it is; reached by ``?teach=1`` on Learn.

It opens on the machine that the app runs on, and elsewhere with a link that holds the key of a
room. With `ADARANK_TEACH=1` in the environment it opens to everybody.
"""

import os

import pandas as pd
import streamlit as st

from pages.parts.learn import room_link
from pages.parts.learn.board import answer_bars, progress_grid
from pages.parts.learn.handout import handout_html, qr_png, time_plan
from pages.parts.learn.lesson_data import Lesson, Step, lesson
from pages.parts.learn.rooms import HIDEABLE, ROOMS, Room, name_of, new_key
from pages.parts.shared import figures, state
from pages.parts.shared.sidebar import sidebar

LOOK = 3  # seconds between two looks at the board
LONGEST = 200  # signs of an address


def may_teach() -> bool:
    """Tell whether this browser may open a room and see its answers.

    An attendee knows the room's name alone. Only a room that a teacher has opened here counts, so
    that nobody makes up a pair of key and name.
    """
    if st.context.ip_address is None or os.environ.get("ADARANK_TEACH") == "1":
        return True
    key = st.query_params.get("key", "")
    return bool(key) and ROOMS.knows(name_of(key))


def draw_settings(words: Lesson) -> Room:
    """Let the teacher choose; return the room, and keep it in the link."""
    every = [step["id"] for step in words["steps"]]
    asked = Room.from_query(st.query_params, every)
    names = {step["id"]: step["name"] for step in words["steps"]}
    defaults = {"teach_steps": list(asked.steps), "teach_hidden": list(asked.hidden)}
    for key, value in {**defaults, "teach_feedback": asked.feedback}.items():
        st.session_state.setdefault(key, value)
    st.caption(
        "The lesson always uses the embedded model. The sidebar's model, text, task, seed and "
        "budget go into the link too: they are for the other pages."
    )
    shown = st.pills(
        "Steps",
        every,
        selection_mode="multi",
        wrap=True,
        format_func=names.get,
        key="teach_steps",
        persist_state="session",
    )
    hide = st.pills(
        "Hidden from the room",
        list(HIDEABLE),
        selection_mode="multi",
        wrap=True,
        format_func=HIDEABLE.get,
        key="teach_hidden",
        persist_state="session",
    )
    feedback = st.toggle(
        "Tell at once whether an answer is right, and why",
        key="teach_feedback",
        persist_state="session",
    )
    steps = tuple(step for step in every if step in shown) or tuple(every)
    hidden = tuple(part for part in HIDEABLE if part in hide)
    return Room(name_of(st.session_state.teach_key), steps, hidden, feedback)


def draw_link(link: str, address: str) -> None:
    """Draw the room's link and its QR code; say first if nobody else can open it."""
    if room_link.only_here(address):
        st.warning(
            "The room cannot open this link yet, for the app listens on this machine alone. "
            "Bookmark this page, end the app, start it as follows and come back by the bookmark:"
            "\n\n`streamlit run app.py --server.address=0.0.0.0`",
            icon=":material/wifi_off:",
        )
    st.image(qr_png(link), width=260, caption="The room's link", alt=f"QR code of {link}")
    st.code(link, language=None, wrap_lines=True)


def draw_answers(steps: list[Step]) -> None:
    """Draw the answer key."""
    for at, step in enumerate(steps):
        st.markdown(f"**{at + 1}. {step['name']}.** {step['check']['question']}")
        for sign, choice in zip("abcdefgh", step["check"]["choices"], strict=False):
            mark = ":green[**✓**] " if choice.get("right") else ""
            st.markdown(f"- {mark}**{sign}) {choice['text']}.** {choice['why']}")


@st.fragment(run_every=LOOK)
def draw_board(name: str, steps: list[Step]) -> None:
    """Draw how far the room is, and how it answered; it looks again by itself."""
    attendees = ROOMS.attendees(name)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.metric("Attendees", len(attendees))
        answered = sum(step["id"] in each.answers for each in attendees for step in steps)
        st.metric("Answers", f"{answered} of {len(attendees) * len(steps)}")
        tell = st.toggle("Tell right from wrong", key="teach_tell", persist_state="session")
    if not attendees:
        st.caption("Nobody yet. Whoever opens the room's link appears here, without a name.")
        return
    figures.draw(
        progress_grid(attendees, steps, tell),
        key="progress_grid",
        alt=f"How far each of {len(attendees)} attendees is",
    )
    for at, step in enumerate(steps):
        if any(step["id"] in each.answers for each in attendees):
            st.markdown(f"**{at + 1}. {step['name']}.** {step['check']['question']}")
            figures.draw(
                answer_bars(attendees, step, tell),
                key=f"answers_{step['id']}",
                alt=f"How the room answered the check of {step['name']}",
            )


def draw_plan(words: Lesson, steps: list[Step], link: str) -> None:
    """Draw the time plan, and what can be taken along."""
    plan = time_plan(steps)
    total = sum(teaching + doing for *_, teaching, doing in plan)
    st.markdown(f"**{total} minutes** for {len(steps)} steps.")
    titles = ["begins", "step", "minutes to teach", "minutes to do"]
    st.dataframe(pd.DataFrame(plan, columns=titles), hide_index=True, width="stretch")
    for step in steps:
        st.markdown(f"**{step['name']}.** {step['objective']}")
    with st.container(horizontal=True):
        for file, with_answers in (("handout.html", False), ("answer-key.html", True)):
            st.download_button(
                file,
                handout_html(words, steps, "" if with_answers else link, with_answers),
                file,
                "text/html",
                on_click="ignore",
            )


def begin_anew() -> None:
    """Forget the room and take another key; for the button."""
    ROOMS.close(name_of(st.session_state.teach_key))
    st.session_state.teach_key = new_key()


state.open_page()
if not may_teach():
    st.title("Teach opens on the machine that the app runs on", anchor=False)
    st.markdown(
        "Open it there, at `http://localhost`, or with a link that your fellow teacher gave you. "
        "The lesson itself is open to everybody."
    )
    st.page_link("pages/learn.py", label="Learn", icon=":material/school:")
    st.stop()
words = lesson(room_link.language())
if st.query_params.get("show") == "answers":
    asked = Room.from_query(st.query_params, [step["id"] for step in words["steps"]])
    st.title("The answers, and why", anchor=False)
    draw_answers([step for step in words["steps"] if step["id"] in asked.steps])
    st.stop()
if "teach_key" not in st.session_state:
    st.session_state.teach_key = st.query_params.get("key") or new_key()
sidebar()
st.title("Teach the lesson: one link for the room", anchor=False)
left, right = st.columns([11, 9], gap="medium")
with left:
    room = draw_settings(words)
    address = st.text_input(
        "Address at which the room reaches this machine",
        room_link.own_address(),
        max_chars=LONGEST,
        key="teach_address",
        persist_state="session",
    )
    st.button(
        "Start over: a new link and an empty board",
        on_click=begin_anew,
        icon=":material/restart_alt:",
    )
ROOMS.open(room.name)
steps = [step for step in words["steps"] if step["id"] in room.steps]
query = room.to_query([step["id"] for step in words["steps"]])
link = room_link.link_of(address, "learn", query | room_link.choices())
own = query | {"key": st.session_state.teach_key}
room_link.put(own, ("lesson", "hide", "feedback"))
with left:
    state.page_link("teach", "Way back to this room: bookmark it", ":material/bookmark:", own)
    st.caption(
        "Or bookmark this page, which has the same address. Without it, Teach opens a new room "
        "each time."
    )
with right:
    draw_link(link, address)
board, plan, key = st.tabs(["Board", "Time plan and handout", "Answer key"])
with board:
    draw_board(room.name, steps)
with plan:
    draw_plan(words, steps, link)
with key:
    st.markdown(
        "This link opens the answers alone, for a fellow teacher. The room's own link does not "
        "lead to it."
    )
    st.code(
        room_link.link_of(address, "teach", {**own, "show": "answers"}),
        language=None,
        wrap_lines=True,
    )
    draw_answers(steps)
