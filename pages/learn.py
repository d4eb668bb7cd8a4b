"""Learn: the idea in eight short steps, each with a toy of real numbers where it is spoken of.

The words are data (``assets/lesson``); the toys are in ``parts/learn``. Answers and the room, if
there is one, are in the link.
"""

import streamlit as st

from pages.parts.learn import judging, measuring, progress, room_link
from pages.parts.learn.lesson_data import lesson
from pages.parts.learn.lesson_layout import draw_check, draw_head, draw_points, reading, turn_to
from pages.parts.shared import state
from pages.parts.shared.link import linked
from pages.parts.shared.sidebar import sidebar

TOYS = {
    "rank": measuring.rank,
    "noise": measuring.noise,
    "score": measuring.score,
    "texts": measuring.texts,
    "budget": judging.budget,
    "fair": judging.fair,
    "reset": judging.reset,
    "unknown": judging.unknown,
}


def go_to(step: str) -> None:
    """Open a step; for the buttons."""
    st.session_state.step = step


if st.query_params.get("teach") == "1":
    st.switch_page("pages/teach.py")
words = lesson(room_link.language())
room = room_link.enter()
steps = {step["name"]: step for step in words["steps"] if step["id"] in room.steps}
names = list(steps)
progress.from_link(words["steps"])
state.open_page(step=names)
sidebar(("seed",))  # for all steps alike, so that nothing in it moves from one to the next
st.sidebar.caption(
    "The lesson always uses the embedded model. The seed is that of a sentence of your own, which "
    "the steps Noise and Score compute."
)
st.title(words["title"], anchor=False)
top = st.container()
name = st.segmented_control(
    "Step", names, required=True, label_visibility="collapsed", **linked("step")
)
at = names.index(name or names[0])
step = steps[names[at]]
head = st.container()
with reading():
    title = TOYS[step["id"]](step)
with head:
    draw_head(step, title)
judging.draw_stories(step)
draw_check(words, step, room.feedback)
draw_points(step)
with top:
    done, ahead = "● " * (at + 1), "○ " * (len(names) - at - 1)
    answered = len(progress.answers(list(steps.values())))
    checks = f"{answered} of {len(names)} quick checks answered"
    st.markdown(f":primary[{done.strip()}] {ahead} &nbsp; step {at + 1} of {len(names)} · {checks}")
with st.container(horizontal=True, horizontal_alignment="distribute" if at else "right"):
    if at > 0:
        st.button(f"Back: {names[at - 1]}", on_click=go_to, args=names[at - 1 : at])
    if at + 1 < len(names):
        after = names[at + 1]
        st.button(f"Next: {after}", type="primary", on_click=go_to, args=(after,))
    elif not room_link.hidden("explore"):
        state.page_link("explore", "Explore a text")
progress.to_link(words["steps"])
room_link.report(step["id"])
with st.container(horizontal=True):
    if answered:
        st.button("Forget my answers", on_click=progress.clear, args=(words["steps"],))
    if not room.name:
        teaches = "teach_key" in st.session_state
        label = "Back to the room that you teach" if teaches else "Teach this to a room"
        state.page_link("teach", label, ":material/groups:")
turn_to(step)
