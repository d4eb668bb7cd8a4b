"""The lesson's first half: what a rank is, and how a module's score comes about.

Every function draws one step, passage by passage with its toy beside it, and returns the title.
"""

import numpy as np
import pandas as pd
import streamlit as st

from adarank_core import numerals
from adarank_core.files import read_json
from adarank_core.ranks.allocation import allocate
from adarank_core.scoring import lesson
from pages.parts.learn import lesson_figures
from pages.parts.learn.lesson_data import ASSETS, Step
from pages.parts.learn.lesson_layout import draw_data, draw_task, passage_and_toy, unbroken
from pages.parts.learn.noisy_models import choose_modules, draw_sentence_form
from pages.parts.shared import charts, figures, phrases, state
from pages.parts.shared.link import linked

__all__ = ["MODULES", "noise", "rank", "score", "texts"]

MODULES = state.example_scores("generic").modules
SOURCES = {"generic": "generic text", "task": "the task's text", "sentence": "one sentence"}
PAIRS_BY_HAND = 2


def rank(step: Step) -> str:
    """Step 1: a module's change as a product of two thin matrices."""
    stored = read_json(ASSETS / "spectrum.json")
    module = next(module for module in MODULES if module.name == stored["module"])
    rows, width = stored["out_features"], stored["in_features"]
    layers = len({module.layer for module in MODULES})
    kept = lesson.energy_kept(stored["singular_values"])
    full = rows * width
    left, right = passage_and_toy()
    with left:
        st.markdown(
            step["passages"][0].format(
                modules=len(MODULES),
                modules_a_layer=len(MODULES) // layers,
                layers=layers,
                width=f"{width:,}",
                rows=f"{rows:,}",
                full=f"{full:,}",
            )
        )
        st.latex(r"W_{\text{new}} = W + s \cdot B A")
        draw_task(step)
    with right:
        ranks = [*(2**power for power in range(9)), width]
        chosen = st.select_slider("Rank r", ranks, **linked("toy_rank", ranks))
        thin = chosen * (rows + width)
        figures.draw(
            lesson_figures.thin_matrices(width, rows, chosen),
            key="thin",
            alt=f"The change, {rows} by {width}, as the product of two matrices of rank {chosen}",
        )
        larger = " The thin matrices now hold more than the weight itself." * (thin > full)
        st.markdown(
            f"LoRA learns {chosen} × ({rows:,} + {width:,}) = **{thin:,}** numbers. The weight has "
            f"{rows:,} × {width:,} = **{full:,}**. That is **{thin / full:.1%}** of it.{larger}"
        )
    left, right = passage_and_toy()
    left.markdown(step["passages"][1].format(kept=f"{kept[7]:.0%}"))
    with right:
        figures.draw(
            lesson_figures.energy_curve(kept, chosen),
            key="energy",
            alt=f"Energy that the best copy of each rank keeps: {kept[chosen - 1]:.0%} at {chosen}",
        )
        state.badge("stored example", f"embedded model · {charts.module_label(module)}")
        ranks = np.arange(1, len(kept) + 1)
        table = {"rank": ranks, "numbers LoRA learns": ranks * (rows + width), "energy kept": kept}
        draw_data(pd.DataFrame(table), "rank")
    return step["title"]


def noise(step: Step) -> str:
    """Step 2: logits of noisy models around those of the untouched one."""
    left, right = passage_and_toy()
    with left:
        st.markdown(step["passages"][0])
        draw_task(step)
    with right:
        drawn, names, noisy_modules = choose_modules(MODULES)
        figures.draw(
            lesson_figures.logits_plane(drawn.clean, noisy_modules),
            key="plane",
            alt="The two logits of noisy models as dots around those without noise",
        )
        draw_sentence_form(drawn, names)
        rows = [("no noise", 0, *drawn.clean)]
        for module in noisy_modules:
            rows += [(module.label, at + 1, *pair) for at, pair in enumerate(module.values)]
        draw_data(pd.DataFrame(rows, columns=["noise on", "draw", "logit 1", "logit 2"]), "logits")
    shifts = [lesson.mean_shift(module.values, drawn.clean) for module in noisy_modules]
    labels = [unbroken(module.label) for module in noisy_modules]
    moved = " and ".join(
        f"{numerals.number(shift)} with noise on {label}"
        for label, shift in zip(labels, shifts, strict=True)
    )
    left, _ = passage_and_toy()
    left.markdown(step["passages"][1].format(moved=moved))
    return _contrasted(step, labels, shifts)


def score(step: Step) -> str:
    """Step 3: two pairs by hand, then the mean distance as more come in."""
    intro, meaning, luck, compared, last = step["passages"]
    left, right = passage_and_toy()
    with left:
        st.markdown(intro)
        st.latex(
            r"\begin{aligned} d_m = \mathbb{E}_{E_1,E_2}\ \operatorname*{mean}_{x}\ "
            r"\lVert\, &f(x;\,W+E_1) \\ -\, &f(x;\,W+E_2) \,\rVert_1 \end{aligned}"
        )
        st.markdown(meaning)
        draw_task(step)
    with right:
        drawn, names, noisy_modules = choose_modules(MODULES)
        _draw_by_hand(noisy_modules)
    running = [
        lesson_figures.NoisyModule(
            module.label,
            module.colour,
            np.column_stack(lesson.running_mean(lesson.pair_distances(module.values))),
        )
        for module in noisy_modules
    ]
    labels = [unbroken(module.label) for module in running]
    most = len(running[0].values)
    left, right = passage_and_toy()
    left.markdown(luck)
    with right:
        pairs = st.slider(
            "Pairs that have come in", 2, most, **linked("toy_pairs", range(2, most + 1))
        )
        figures.draw(
            lesson_figures.running_means(running, pairs),
            key="running",
            alt="Mean distance of a pair of noisy models as pairs come in, with its error",
        )
        so_far = [module.values[pairs - 1] for module in running]
        found = " and ".join(
            f"**{numerals.with_error(*values)}** for {label}"
            for label, values in zip(labels, so_far, strict=True)
        )
        st.markdown(f"After {pairs} pairs the disagreement is {found}.")
    left, _ = passage_and_toy()
    with left:
        if len(running) == 2:
            shifts = [lesson.mean_shift(module.values, drawn.clean) for module in noisy_modules]
            st.markdown(
                compared.format(
                    ratio_star=lesson_figures.contrast(labels, shifts)[2],
                    ratio_now=_ratio(so_far),
                    ratio_all=_ratio([module.values[-1] for module in running]),
                    pairs=pairs,
                    most=most,
                )
            )
        st.markdown(last)
        draw_sentence_form(drawn, names)
        rows = [
            (module.label, at + 1, *values)
            for module in running
            for at, values in enumerate(module.values)
        ]
        titles = ["noise on", "pairs", "mean distance", "standard error"]
        draw_data(pd.DataFrame(rows, columns=titles), "disagreement")
    return _contrasted(step, labels, [module.values[-1][0] for module in running])


def texts(step: Step) -> str:
    """Step 4: the same modules scored on two kinds of text."""
    left, right = passage_and_toy()
    of_source = {source: state.example_scores(source) for source in SOURCES}
    about = state.example_about()
    with left:
        st.markdown(
            step["passages"][0].format(
                generic_count=of_source["generic"].texts["count"],
                task_count=of_source["task"].texts["count"],
                task=about["task"],
            )
        )
        draw_task(step)
    with right:
        one, other = (
            column.selectbox(
                label,
                list(SOURCES),
                format_func=SOURCES.get,
                **linked(name),
            )
            for column, label, name in zip(
                st.columns(2),
                ("Across: scored on", "Upwards: scored on"),
                ("toy_across", "toy_upwards"),
                strict=True,
            )
        )
        pair = of_source[one], of_source[other]
        values = [[module.score for module in scores.modules] for scores in pair]
        correlation = lesson.rank_correlation(*values)
        figures.draw(
            lesson_figures.two_scores(*pair, SOURCES[one], SOURCES[other]),
            key="two_scores",
            alt=f"Scores of all modules on two kinds of text; rank correlation {correlation:.2f}",
        )
        for source in dict.fromkeys((one, other)):
            shown = state.Shown(of_source[source], "stored example", source)
            state.badge("stored example", phrases.detail(shown))
        ranks = [allocate(scores, 8).ranks for scores in pair]
        rows = [
            (charts.module_label(module), *both, *(plan[module.name] for plan in ranks))
            for module, *both in zip(MODULES, *values, strict=True)
        ]
        titles = ["module", "score across", "score upwards", "rank across", "rank upwards"]
        draw_data(pd.DataFrame(rows, columns=titles), "texts")
    changes = [abs(ranks[0][module.name] - ranks[1][module.name]) for module in MODULES]
    factor = float(np.median(np.divide(values[1], values[0])))
    left, _ = passage_and_toy()
    left.markdown(
        step["passages"][1].format(
            other=SOURCES[other],
            one=SOURCES[one],
            factor=f"{numerals.number(factor)} times",
            same=changes.count(0),
            modules=len(MODULES),
            change=max(changes),
        )
    )
    title = step["title"].format(
        one=SOURCES[one], other=SOURCES[other], correlation=f"{correlation:.3f}"
    )
    return title[:1].upper() + title[1:]


def _contrasted(step: Step, labels: list[str], values: list[float]) -> str:
    """Return a title that names the larger of two values, or the only one."""
    if len(labels) == 1:
        return step["title_alone"].format(alone=labels[0], shift=numerals.number(values[0]))
    high, low, ratio = lesson_figures.contrast(labels, values)
    return step["title"].format(high=high, low=low, ratio=ratio)


def _ratio(estimates: list[np.ndarray]) -> str:
    """Return the ratio of two disagreements, the larger first, with its error."""
    low, high = sorted((tuple(each) for each in estimates), key=lambda each: each[0])
    return numerals.with_error(*lesson.ratio_with_error(high, low))


def _draw_by_hand(modules: list[lesson_figures.NoisyModule]) -> None:
    """Show two pairs a module in whole thousandths, and take what somebody makes of them."""
    shown = [np.round(1000 * module.values[: 2 * PAIRS_BY_HAND]) for module in modules]
    rows = [
        (module.label, at // 2 + 1, "first" if at % 2 == 0 else "second", *map(int, pair))
        for module, pairs in zip(modules, shown, strict=True)
        for at, pair in enumerate(pairs)
    ]
    titles = ["noise on", "pair", "model", "logit 1", "logit 2"]
    st.caption("Logits in thousandths, rounded")
    st.dataframe(pd.DataFrame(rows, columns=titles), hide_index=True, width="stretch")
    columns = st.columns(len(modules))
    for column, module, pairs in zip(columns, modules, shown, strict=True):
        with column:
            given = st.number_input(
                f"Disagreement of {module.label}, in thousandths",
                0.0,
                None,
                None,
                0.5,
                format="%.1f",
                key=f"lesson_by_hand_{module.label}",
                persist_state="session",
            )
            distances = lesson.pair_distances(pairs)
            if given is not None:
                _say_by_hand(given, distances)


def _say_by_hand(given: float, distances: np.ndarray) -> None:
    mean = distances.mean()
    if abs(given - mean) < 0.26:
        st.success(f"Yes: {' and '.join(f'{d:.0f}' for d in distances)}, in the mean {mean:.1f}.")
    elif abs(given - distances.sum()) < 0.26:
        st.warning("That is the sum of both pairs; take their mean.")
    else:
        st.warning("Not yet. For each pair: |difference of logit 1| + |difference of logit 2|.")
