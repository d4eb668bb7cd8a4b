"""What a lesson page is laid out with: passages and toys, a table twin, a quick check."""

from functools import cache

import pandas as pd
import streamlit as st

from pages.parts.learn.lesson_data import Lesson, Step
from pages.parts.learn.progress import check_key
from pages.parts.learn.room_link import hidden
from pages.parts.shared.tables import signed_table

__all__ = [
    "draw_check",
    "draw_data",
    "draw_head",
    "draw_points",
    "draw_task",
    "passage_and_toy",
    "reading",
    "turn_to",
    "unbroken",
]

# Streamlit leaves the page where it was scrolled to, which is the end of the step before.
TO_THE_TOP = """
export default ({ parentElement, data }) => {
  const before = parentElement.lessonStep;
  parentElement.lessonStep = data.step;
  if (before !== undefined && before !== data.step) {
    document.querySelector('[data-testid="stMain"]').scrollTo(0, 0);
  }
};
"""
READING = 520  # pixels: 60 to 70 characters a line


@cache
def _turning():
    return st.components.v2.component("lesson_step", js=TO_THE_TOP)


def turn_to(step: Step) -> None:
    """Begin at the top where another step was shown before; the last thing that a page draws."""
    _turning()(data={"step": step["id"]}, key="lesson_step")


def reading():
    """Return the container in which a step draws its passages and toys, and nothing else.

    On a wide screen they are two columns, each without holes: see ``assets/style.css``, which
    takes every second child for a toy.
    """
    return st.container(key="reading")


def passage_and_toy():
    """Return the place of a passage, and that of the toy which it speaks of.

    On a phone the toy follows its passage.
    """
    return st.container(), st.container()


def draw_head(step: Step, title: str) -> None:
    """Draw a step's finding, its questions, and what one can do after it."""
    st.header(title, anchor=False)
    with st.container(width=2 * READING):
        st.markdown(f"*{' '.join(step['questions'])}*")
        minutes = step["teaching"] + step["doing"]
        st.caption(f"After this step: {step['objective']} About {minutes} minutes.")


def draw_task(step: Step) -> None:
    """Draw what there is to do, beside the toy."""
    st.info(f"**Try it.** {step['task']}", icon=":material/touch_app:")


def draw_data(table: pd.DataFrame, name: str) -> None:
    """Draw the table twin of a figure, closed."""
    if hidden("data"):
        return
    with st.expander("Data"):
        st.dataframe(signed_table(table), hide_index=True, width="stretch")
        csv = table.to_csv(index=False)
        st.download_button(f"{name}.csv", csv, f"{name}.csv", "text/csv", on_click="ignore")


def draw_check(words: Lesson, step: Step, feedback: bool = True) -> None:
    """Ask a step's quick check; every answer has its own explanation.

    Parameters
    ----------
    words : Lesson
    step : Step
        One of its steps.
    feedback : bool
        Tell at once whether the answer is right, and why.
    """
    check = step["check"]
    choices = check["choices"]
    with st.container(border=True):
        st.markdown(f"**Quick check.** {check['question']}")
        given = st.radio(
            check["question"],
            range(len(choices)),
            index=None,
            format_func=lambda at: choices[at]["text"],
            key=check_key(step["id"]),
            persist_state="session",
            label_visibility="collapsed",
        )
        if given is None:
            return
        chosen = choices[given]
        if not feedback:
            st.info(words["noted"], icon=":material/check:")
        elif chosen.get("right"):
            st.success(f"**{words['right']}** {chosen['why']}", icon=":material/check_circle:")
        else:
            st.info(f"**{words['wrong']}** {chosen['why']}", icon=":material/lightbulb:")


def draw_points(step: Step) -> None:
    """Draw what to keep of a step."""
    st.markdown("\n".join(["**To keep**", "", *(f"- {point}" for point in step["points"])]))


def unbroken(label: str) -> str:
    """Keep a module's label on one line."""
    return label.replace(" ", "\N{NO-BREAK SPACE}")
