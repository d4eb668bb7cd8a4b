"""The sidebar: what holds for all pages, of which a page shows what has an effect on it."""

from collections.abc import Collection

import streamlit as st

from adarank_core.data.tasks import task_names
from adarank_core.errors import AdaRankError
from adarank_core.limits import ANY, check_model_name, is_walled, models
from pages.parts.shared import link, state
from pages.parts.shared.link import LARGEST_SEED, OWN_FILE, SOURCES, linked
from pages.parts.shared.uploads import draw_own_file

__all__ = ["CHOICES", "draw_budget", "sidebar"]

LARGEST_RANK = 64
#: What the sidebar can ask for, in its order.
CHOICES = ("model", "text", "task", "seed", "rank")


def sidebar(uses: Collection[str] = CHOICES, budget_at=None) -> state.Choice:
    """Draw the sidebar and return what is chosen.

    Parameters
    ----------
    uses : collection of str
        Those of `CHOICES` that have an effect on the page. Only they are drawn; the others are as
        they were chosen elsewhere. With ``"text"`` the task is drawn too while text is a task's.
    budget_at : container, optional
        Where the budget slider is drawn; in the sidebar if not given.

    Returns
    -------
    Choice
    """
    # A teacher may have settled for a room what all its sessions use; see parts/learn/rooms.py.
    settled = {"disabled": "settings" in st.session_state.get("hidden_parts", ())}
    with st.sidebar:
        if "model" in uses:
            _choose_model(settled)
        if "text" in uses:
            st.segmented_control(
                "Text",
                SOURCES,
                required=True,
                help="What the modules are scored on: sixteen sentences of no task, sixteen "
                "training texts of a task, or one sentence of yours.",
                **linked("text"),
                **settled,
            )
        if "task" in uses or ("text" in uses and st.session_state.text == "task"):
            _choose_task(settled)
        if "seed" in uses:
            st.number_input(
                "Seed",
                0,
                LARGEST_SEED,
                help="Draws the noise, the head and the task's texts: the same seed gives the same "
                "numbers.",
                **linked("seed"),
                **settled,
            )
    if "rank" in uses:
        with budget_at or st.sidebar:
            draw_budget()
    with st.sidebar:
        st.segmented_control(
            "Save pictures as",
            ("PNG", "SVG"),
            required=True,
            help="What the camera over a picture saves: PNG for slides, SVG for papers.",
            **linked("pictures"),
        )
    return _chosen()


def draw_budget() -> int:
    """Draw the budget's slider where it is called, and return the average rank."""
    return st.slider(
        "Budget: average rank",
        1,
        LARGEST_RANK,
        help="What uniform LoRA would give every module.",
        **linked("rank"),
    )


def _chosen() -> state.Choice:
    """Return what is chosen, whether or not this page has a control for it."""
    session, model = st.session_state, st.session_state.model or "embedded"
    try:
        check_model_name(model)
    except AdaRankError:  # said where it is chosen
        model = "embedded"
    task, path = session.task, session.get("task_path")
    if own := task == OWN_FILE:
        task = path or task_names()[0]
    return state.Choice(
        model,
        session.text or "generic",
        task,
        int(session.seed),
        session.rank,
        session.trials,
        (session.get("sentence") or "").strip() or state.example_about()["sentence"],
        own and path is None,
    )


def _choose_model(settled: dict) -> None:
    offered, may_be_typed = models(), _may_be_typed()
    listed = ["embedded"] if offered is None else [one for one in offered if one != ANY]
    local = "" if is_walled() else ", or a local folder,"
    typed = f" Or type a Hub id such as `bert-base-cased`{local} and press Enter."
    model = st.selectbox(
        "Model",
        listed,
        accept_new_options=may_be_typed,
        help="**embedded** is MiniLM-L6, which came with the app." + typed * may_be_typed,
        **linked("model", None if may_be_typed else listed),
        **settled,
    )
    try:
        check_model_name(model or "embedded")
    except AdaRankError as error:
        state.show_error(error)


def _choose_task(settled: dict) -> None:
    offered = [*link.offered_tasks(), OWN_FILE]
    task = st.selectbox(
        "Task",
        offered,
        help="Where task text comes from, and what Compare trains on. **docstrings** came with the "
        "app; the others are fetched from the Hugging Face Hub.",
        **linked("task", offered),
        **settled,
    )
    if task == OWN_FILE:
        draw_own_file()


def _may_be_typed() -> bool:
    offered = models()
    return offered is None or ANY in offered
