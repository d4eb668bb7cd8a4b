"""One module in detail: text by text, its weight, and what follows it; computed when opened."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from adarank_core import numerals
from adarank_core.errors import AdaRankError
from adarank_core.scoring.options import ScoringOptions
from adarank_core.scoring.scores import ModuleScore, Scores
from pages.parts.explore import closer_pictures as pictures
from pages.parts.explore.scored_texts import texts_of_shown
from pages.parts.shared import cached, charts, figures, link, phrases, state
from pages.parts.shared.link import linked

__all__ = ["draw_closer", "pick", "picked"]

TABS = ("Texts and noisy models", "What follows it", "Its weight's spectrum")


def picked(scores: Scores) -> ModuleScore | None:
    """Return the module that is looked at closely, if one is."""
    at = st.session_state.module
    if at is not None and at >= len(scores.modules):  # of another model
        link.choose("module", None)
        return None
    return None if at is None else scores.modules[at]


def pick(at: int | None) -> None:
    """Look closely at a module by its place among the scored ones, or at none; a callback."""
    st.session_state.closer = at is not None
    link.choose("module", at)


def draw_closer(shown: state.Shown) -> None:
    """Draw an expander with one module in detail."""
    modules = shown.scores.modules
    strongest = max(range(len(modules)), key=lambda at: modules[at].score)
    folded = st.expander(
        "One module in detail",
        expanded=st.session_state.module is not None,
        key="closer",
        on_change=lambda: link.choose("module", strongest if st.session_state.closer else None),
    )
    module = picked(shown.scores)
    if module is None:
        return
    with folded:
        _draw_picker(modules)
        share = module.score / (sum(one.score for one in modules) or 1)
        st.caption(
            f"Disagreement {numerals.with_error(module.score, module.standard_error)}, "
            f"{share:.1%} of all · weight {module.out_features:,} × {module.in_features:,} · "
            + state.plain(module.name)
        )
        by_text, follows, weight = st.tabs(TABS, key="closer_view", on_change="rerun")
        if by_text.open:
            with by_text:
                _draw_by_text(shown, module)
        if follows.open:
            with follows:
                _draw_reach(shown, module)
        if weight.open:
            with weight:
                _draw_spectrum(shown, module)


def _draw_picker(modules: tuple[ModuleScore, ...]) -> None:
    at = st.session_state.module
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.selectbox(
            "Module",
            range(len(modules)),
            format_func=lambda at: charts.module_label(modules[at]),
            width=220,
            label_visibility="collapsed",
            **linked("module"),
        )
        st.button(
            "Previous",
            icon=":material/chevron_left:",
            disabled=at == 0,
            on_click=pick,
            args=(at - 1,),
        )
        st.button(
            "Next",
            icon=":material/chevron_right:",
            disabled=at == len(modules) - 1,
            on_click=pick,
            args=(at + 1,),
        )


def _found(what: str, shown: state.Shown, module: ModuleScore) -> tuple | None:
    """Return texts and what a function of `scoring.module_detail` finds; an error is shown."""
    try:
        with st.spinner("Looking closer …"):
            texts, labels = texts_of_shown(shown)
            key = (what, shown.scores.sha256, module.name)
            return texts, cached.looked_at(key, lambda: _look(what, shown, module, texts, labels))
    except AdaRankError as error:
        state.show_error(error)
        return None


def _look(what: str, shown: state.Shown, module: ModuleScore, texts, labels: int):
    bundle = cached.model(shown.scores.model, labels)
    from adarank_core.scoring import module_detail

    if what == "spectrum":
        return module_detail.spectrum(bundle, module.name)
    scores = shown.scores
    options = ScoringOptions(
        trials=scores.trials,
        estimator=scores.estimator,
        noise_scale=scores.noise_scale,
        noise=scores.noise,
        seed=scores.seed,
        logits=scores.logits,
        head_draw="seed" if scores.head_draw == "seed" else "expected",
    )
    look: Callable = getattr(module_detail, what)
    return look(bundle, texts, module.name, options)


def _draw_by_text(shown: state.Shown, module: ModuleScore) -> None:
    if (found := _found("by_text", shown, module)) is None:
        return
    texts, by_text = found
    _title(pictures.by_text_finding(by_text, texts.items))
    _figure(
        pictures.by_text(by_text, texts.items),
        shown,
        module,
        "texts",
        "Distances of all pairs of noisy models, a row a text, with every text's mean",
    )
    low, high = np.quantile(by_text.pairs, [0.25, 0.75], axis=1)
    table = {
        "text": texts.items,
        "disagreement": by_text.means,
        "standard error": by_text.errors,
        "lower quarter of pairs": low,
        "upper quarter of pairs": high,
    }
    _data(pd.DataFrame(table).sort_values("disagreement", ascending=False), "texts")


def _draw_reach(shown: state.Shown, module: ModuleScore) -> None:
    if (found := _found("noise_reach", shown, module)) is None:
        return
    reached = found[1]
    _title(pictures.reach_finding(shown.scores, reached))
    if not reached:
        return
    _figure(
        pictures.reach(shown.scores, module, reached),
        shown,
        module,
        "reach",
        "How much the noise changes the input of every module that follows",
    )
    st.caption(
        "Empty cells do not follow it, or change by less than rounding; the framed one is noisy "
        "itself."
    )
    labels = {one.name: charts.module_label(one) for one in shown.scores.modules}
    table = {
        "module": [labels[name] for name in reached],
        "change of its input": list(reached.values()),
        "path": list(reached),
    }
    _data(pd.DataFrame(table), "reach")


def _draw_spectrum(shown: state.Shown, module: ModuleScore) -> None:
    if (found := _found("spectrum", shown, module)) is None:
        return
    spectrum = found[1]
    _title(pictures.spectrum_finding(spectrum))
    _figure(
        pictures.spectrum(spectrum),
        shown,
        module,
        "spectrum",
        "Singular values of the module's weight, and the largest that noise of its size would have",
    )
    st.caption(
        "Noise of the weight's own size is what scoring adds. Energy is the sum of the squares of "
        "the singular values, which is that of all numbers in the weight."
    )
    table = {"place": range(1, len(spectrum.values) + 1), "singular value": spectrum.values}
    _data(pd.DataFrame(table), "spectrum")


def _title(finding: str) -> None:
    st.markdown(f"**{state.plain(finding)}.**")


def _figure(figure, shown: state.Shown, module: ModuleScore, name: str, alt: str) -> None:
    of = f"{charts.module_label(module)} · {phrases.detail(shown)}"
    figures.draw(figures.signed(figure, of), key=f"closer_{name}", alt=alt)


def _data(table: pd.DataFrame, name: str) -> None:
    folded = st.expander("Data", key=f"closer_data_{name}", on_change="rerun")
    if folded.open:
        folded.dataframe(table, hide_index=True, width="stretch")
