"""Noisy models of two modules of one's choice, for the stored sentence or one's own.

Shared by the Learn page's steps on noise and on disagreement. Nothing slow is imported or run
before a sentence of one's own is asked for.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import streamlit as st

from adarank_core.data.texts import sentence
from adarank_core.errors import AdaRankError
from adarank_core.files import read_json
from adarank_core.scoring import lesson
from adarank_core.scoring.scores import ModuleScore
from pages.parts.learn import lesson_figures
from pages.parts.learn.lesson_data import ASSETS
from pages.parts.learn.room_link import hidden
from pages.parts.shared import cached, charts, state
from pages.parts.shared.link import linked

__all__ = ["choose_modules", "draw_sentence_form"]


def choose_modules(
    modules: Sequence[ModuleScore],
) -> tuple[lesson.NoisyLogits, list[str], list[lesson_figures.NoisyModule]]:
    """Draw the choice of two modules; return all draws, and these modules' names and draws.

    Parameters
    ----------
    modules : sequence of ModuleScore
        What can be chosen.

    Returns
    -------
    tuple
        One name and one `NoisyModule` where the same module is chosen twice.
    """
    of_name = {module.name: module for module in modules}
    order = list(of_name)
    names = [
        column.selectbox(
            label,
            order,
            format_func=lambda name: charts.module_label(of_name[name]),
            **linked(name, order),
        )
        for column, label, name in zip(
            st.columns(2),
            ("One module", "Another module"),
            ("toy_one", "toy_another"),
            strict=True,
        )
    ]
    names = list(dict.fromkeys(names))
    drawn = _draws(names)
    colours = charts.family_colours(dict.fromkeys(module.family for module in modules))
    noisy_modules = [
        lesson_figures.NoisyModule(
            charts.module_label(of_name[name]),
            colours[of_name[name].family],
            np.array(drawn.noisy[name]),
        )
        for name in names
    ]
    return drawn, names, noisy_modules


def draw_sentence_form(drawn: lesson.NoisyLogits, names: list[str]) -> None:
    """Tell where the numbers come from, and offer to compute them for another sentence."""
    own = "lesson_drawn" in st.session_state
    state.badge(
        "computed now" if own else "stored example",
        f"“{drawn.sentence}” · {len(drawn.noisy[names[0]])} trials a module · seed {drawn.seed}",
    )
    if hidden("own-sentence"):
        return
    with st.expander("Recompute with your own sentence"), st.form("own", border=False):
        text, seed = st.text_input("Your sentence", drawn.sentence), int(st.session_state.seed)
        st.caption(f"It takes some seconds. The seed, {seed}, is the sidebar's.")
        if st.form_submit_button("Recompute", type="primary"):
            try:
                _compute(text, names, seed, {})
            except AdaRankError as error:
                state.show_error(error)
            else:
                st.rerun()
    if own and st.button("Back to the stored sentence"):
        del st.session_state.lesson_drawn
        st.rerun()


def _draws(names: Sequence[str]) -> lesson.NoisyLogits:
    """Return the noisy models of these modules, for the own sentence or the stored one."""
    own = st.session_state.get("lesson_drawn")
    if own is None:
        return lesson.NoisyLogits(**read_json(ASSETS / "noisy-logits.json"))
    missing = [name for name in names if name not in own.noisy]
    return _compute(own.sentence, missing, own.seed, own.noisy) if missing else own


def _compute(text: str, names: Sequence[str], seed: int, known: dict) -> lesson.NoisyLogits:
    """Run the noisy models of an own sentence, and keep what they gave for this session."""
    sentence(text)  # refuses a blank one before the model is loaded
    with st.spinner("Running the noisy models; the first time, the model is loaded too …"):
        drawn = lesson.noisy_logits(cached.model("embedded"), text, names, seed=seed)
    drawn = dataclasses.replace(drawn, noisy={**known, **drawn.noisy})
    st.session_state.lesson_drawn = drawn
    return drawn
