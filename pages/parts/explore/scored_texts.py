"""The texts that scores are of: fetched again from what was asked, shown with their tokens."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from adarank_core.data.texts import Texts, generic_texts, sentence
from adarank_core.errors import AdaRankError
from pages.parts.shared import cached, state

__all__ = ["draw_texts", "texts_of_shown", "wanted_texts"]

FIRST = 5  # texts whose tokens are drawn


def wanted_texts(
    source: str, text: str, seed: int, progress: Callable[[str, float], None] | None = None
) -> tuple[Texts, int]:
    """Return the texts to score, and how many outputs the head has.

    Parameters
    ----------
    source : {"generic", "task", "sentence"}
    text : str
        The task or the sentence.
    seed : int
        Draws a task's texts.
    progress : callable, optional
        As `cached.task` takes it.
    """
    if source == "task":
        task = cached.task(text, progress)
        return task.sample_texts(16, seed=seed), len(task.label_names)
    return (sentence(text) if source == "sentence" else generic_texts()), 2


def texts_of_shown(shown: state.Shown) -> tuple[Texts, int]:
    """Return the texts that shown scores are of, and how many outputs the head had.

    Raises
    ------
    AdaRankError
        If they cannot be had: scores from a file name their texts by a digest alone, and a task
        may have other texts on this machine.
    """
    if shown.kind == "your file":
        raise AdaRankError("a file of scores does not hold its texts; score them here")
    texts, labels = wanted_texts(shown.source, shown.text, shown.scores.seed)
    if texts.sha256 != shown.scores.texts.get("sha256"):
        raise AdaRankError(
            "these scores are of texts that this machine does not have, as its libraries are of "
            "other versions; press Score to take them here"
        )
    return texts, labels


def draw_texts(shown: state.Shown) -> None:
    """Draw an expander with the texts, and the tokens that the model reads of the first ones."""
    folded = st.expander(
        "The texts, and the tokens that the model reads", key="texts_seen", on_change="rerun"
    )
    if not folded.open:
        return
    with folded, st.spinner("Reading the texts …"):
        try:
            texts, labels = texts_of_shown(shown)
            rows = _tokens(shown, texts, labels)
        except AdaRankError as error:
            state.show_error(error)
            return
        counts = [len(row) for row in rows]
        st.markdown(
            f"Of {len(texts)} text{'s' * (len(texts) > 1)} the model reads {sum(counts):,} tokens; "
            "those in colour are special ones, which no text has."
        )
        for row in rows[:FIRST]:
            st.markdown(" ".join(_drawn(*token) for token in row))
        if len(rows) > FIRST:
            st.caption(f"These are the first {FIRST}; below are all of them.")
        table = {"text": texts.items, "tokens": counts}
        st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")


def _drawn(token: str, special: bool) -> str:
    """Return one token as Markdown."""
    plain = state.plain(token)
    return f":violet-badge[{plain}]" if special else f":gray-badge[{plain}]"


def _tokens(shown: state.Shown, texts: Texts, labels: int) -> list:
    bundle = cached.model(shown.scores.model, labels)
    from adarank_core.scoring.module_detail import tokens_of

    return tokens_of(bundle, texts)
