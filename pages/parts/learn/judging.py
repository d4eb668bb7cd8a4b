"""The lesson's second half: from ranks to what may be said about them.

Every function draws one step, passage by passage with its toy beside it, and returns the title.
"""

import pandas as pd
import streamlit as st

from adarank_core import numerals
from adarank_core.comparison.judging import Declared, verdict_of
from adarank_core.comparison.sentences import describe
from adarank_core.comparison.verdicts import Verdict
from adarank_core.files import read_json
from adarank_core.numerals import signed
from adarank_core.ranks.allocation import allocate, uniform_plan
from adarank_core.ranks.plans import ALPHA_POLICIES
from adarank_core.scoring.scores import Scores
from pages.parts.learn import lesson_figures
from pages.parts.learn.lesson_data import ASSETS, Step, Story, evidence
from pages.parts.learn.lesson_layout import draw_data, draw_task, passage_and_toy, unbroken
from pages.parts.shared import charts, curves, figures, phrases, state
from pages.parts.shared.link import linked
from pages.parts.shared.sidebar import draw_budget

__all__ = ["budget", "draw_stories", "fair", "reset", "told", "unknown"]

ENDS = {"first": 0, "last": -1}
KEPT_EQUAL = {"rank": "the sum of ranks", "parameters": "LoRA parameters"}


def budget(step: Step) -> str:
    """Step 5: ranks in proportion to disagreement, and what changes with them."""
    shared_out, costs, steps = step["passages"]
    scores = state.example_scores("generic")
    modules = scores.modules
    left, right = passage_and_toy()
    with right:
        average = draw_budget()
        equal = st.segmented_control(
            "What is kept equal",
            list(KEPT_EQUAL),
            format_func=KEPT_EQUAL.get,
            required=True,
            **linked("toy_equal"),
        )
        plan = allocate(scores, average, budget_by=equal)
        uniform = uniform_plan(scores, average)
        figures.draw(
            charts.rank_bars(scores, plan, average),
            key="shares",
            alt="LoRA rank of every module, with the uniform rank as a line across",
        )
        thin, plain = (each.budget["lora_parameters"] for each in (plan, uniform))
        summed = sum(plan.ranks.values())
        total = f"{average * len(modules):,}"
        st.markdown(
            f"AdaRank's ranks sum to **{summed:,}**, uniform ones to **{total}**. "
            f"AdaRank's learn **{thin:,}** numbers, uniform ones **{plain:,}**."
        )
        state.badge(
            "stored example", phrases.detail(state.Shown(scores, "stored example", "generic"))
        )
        rows = [
            (charts.module_label(module), module.score, plan.ranks[module.name], average)
            for module in modules
        ]
        titles = ["module", "disagreement", "AdaRank's rank", "uniform rank"]
        draw_data(pd.DataFrame(rows, columns=titles), "ranks")
    with left:
        st.markdown(shared_out.format(modules=len(modules), average=average, total=total))
        draw_task(step)
    left, right = passage_and_toy()
    with left:
        small, *_, large = sorted(modules, key=lambda each: each.in_features + each.out_features)
        cost = {each: f"{each.in_features + each.out_features:,}" for each in (small, large)}
        difference = thin / plain - 1
        way = "more" if difference > 0 else "fewer"
        st.markdown(
            costs.format(
                cost_small=cost[small],
                small=unbroken(charts.module_label(small)),
                cost_large=cost[large],
                large=unbroken(charts.module_label(large)),
                thin=f"{thin:,}",
                compared=f"{abs(difference):.1%} {way} than" if difference else "as many as",
                plain=f"{plain:,}",
            )
        )
        st.markdown(steps)
    with right:
        _draw_scaling(scores, average, equal)
    return step["title"]


def _draw_scaling(scores: Scores, average: int, equal: str) -> None:
    """Choose alpha's rule; show what it does to the module of highest and of lowest rank."""
    policy = st.selectbox("Alpha's rule", list(ALPHA_POLICIES), **linked("toy_alpha"))
    st.caption(state.plain(ALPHA_POLICIES[policy]))
    plan = allocate(scores, average, budget_by=equal, alpha_policy=policy)
    by_rank = sorted(scores.modules, key=lambda module: plan.ranks[module.name])
    rows = [
        (
            charts.module_label(module),
            plan.ranks[module.name],
            plan.alpha[module.name],
            round(plan.scaling[module.name], 2),
        )
        for module in (by_rank[-1], by_rank[0])
    ]
    titles = ["module", "rank", "alpha", "scaling"]
    st.dataframe(pd.DataFrame(rows, columns=titles), hide_index=True, width="stretch")


def fair(step: Step) -> str:
    """Step 6: the stored comparison, seed by seed, and three ties."""
    run = state.example_run()
    whole = Verdict.from_dict(read_json(run.folder / "verdict.json"))
    seeds = len(next(iter(whole.arms.values()))["runs"])
    sizes = [arm["lora_parameters"] for arm in whole.arms.values()]
    learnt = " to ".join(f"{size:,}" for size in sorted({min(sizes), max(sizes)}))
    left, right = passage_and_toy()
    with left:
        st.markdown(step["passages"][0].format(learnt=learnt))
        draw_task(step)
    with right:
        seen = seeds
        if seeds > 1:
            seen = st.slider(
                "Seeds looked at", 1, seeds, **linked("toy_seeds", range(1, seeds + 1))
            )
        arms = {name: {**arm, "runs": arm["runs"][:seen]} for name, arm in whole.arms.items()}
        # The stored verdict needs no statistics to be computed, which take a second to load.
        verdict, metric = whole, whole.primary_metric
        if seen < seeds:
            verdict = verdict_of(whole.task, whole.model, arms, declared=Declared(metric))
        compared = verdict.primary
        figures.draw(
            curves.differences(verdict, metric),
            key="differences",
            alt="Difference in test loss for every seed, with means and 95% intervals",
        )
        st.caption(
            "Circles are seeds, diamonds their mean, bars its 95% interval. The verdict asks for a "
            "little more than an interval beside zero, as there are several comparisons."
        )
        state.badge(
            "stored example",
            f"{whole.task} · {seen} of {seeds} seeds · {run.config['settings']['steps']} steps · "
            f"average rank {run.config['average_rank']:g}",
        )
        draw_data(curves.difference_table(verdict, metric), "differences")
    left, _ = passage_and_toy()
    with left:
        st.markdown("\n".join(f"- {state.plain(describe(one, verdict))}" for one in compared))
        st.markdown(step["passages"][1])
    found = {(one["arm"], one["against"]): one["verdict"] for one in compared}
    against = [
        f"against {name}: {found['adarank', other]}"
        for other, name in (("uniform", "uniform ranks"), ("permuted", "its own ranks, shuffled"))
        if ("adarank", other) in found
    ]
    return step["title"].format(found="; ".join(against))


def draw_stories(step: Step) -> None:
    """Draw what has happened in comparisons of ours, side by side; few steps tell of it."""
    stories = step.get("stories", ())
    for place, story in zip(st.columns(len(stories)) if stories else (), stories, strict=True):
        with place.container(border=True, height="stretch"):
            st.markdown(f"**{story['title']}.** {words_of(story)}")
            st.caption(state.plain(f"Source: {evidence()[story['id']]['source']}"))


def words_of(story: Story) -> str:
    """Return a story's text with its own figures, and those of other rows of `evidence`."""
    figures_of = {name: told(row) for name, row in evidence().items()}
    return story["text"].format(**figures_of[story["id"]], others=figures_of)


def told(row: dict) -> dict[str, str]:
    """Write a row of `evidence` as a story tells it.

    Examples
    --------
    >>> row = {"task": "TREC", "seeds": 5, "difference": -0.011, "p_value": 0.04}
    >>> told(row)
    {'task': 'TREC', 'seeds': '5', 'difference': '−0.011', 'p_value': '0.04'}
    """
    with_sign = {"difference": "difference", "ci_low": "low", "ci_high": "high"}
    words = {"task": row["task"], "seeds": str(row["seeds"])}
    words |= {name: signed(row[key]) for key, name in with_sign.items() if key in row}
    words |= {key: f"{row[key]:.2g}" for key in ("p_value", "p_adjusted") if key in row}
    if "smallest_detectable" in row:
        words["smallest"] = f"{row['smallest_detectable']:.3f}"
    return words


def reset(step: Step) -> str:
    """Step 7: a curve that is nothing but the order of the scan."""
    stored = read_json(ASSETS / "reset.json")
    scans = stored["curves"]
    first, in_reverse, really = step["passages"]
    ends = {f"{name}_{end}": scans[name][at][0] for name in scans for end, at in ENDS.items()}
    ends |= {"first": ends["forward_first"], "last": ends["forward_last"]}
    words = {name: numerals.number(value) for name, value in ends.items()}
    left, right = passage_and_toy()
    with left:
        st.markdown(first.format(**words))
        draw_task(step)
    with right:
        predictions = range(len(step["predictions"]))
        guess = st.radio(
            "Scanned in reverse, the curve …",
            predictions,
            index=None,
            format_func=lambda at: step["predictions"][at],
            **linked("toy_guess", (None, *predictions)),
        )
        shown = ["forward"]
        if guess is not None:
            shown.append("reversed")
            if st.toggle("Take the noise away after each layer", **linked("toy_reset")):
                shown.append("reset")
        figures.draw(
            lesson_figures.scans({name: scans[name] for name in shown}),
            key="scans",
            alt=f"Scores of the value projections over depth, as {len(shown)} scans see them",
        )
        state.badge(
            "stored example",
            f"model {stored['model']} · {phrases.of_texts('generic', stored['texts'])} · "
            f"{stored['trials']} trials · seed {stored['seed']}",
        )
        layers = len(scans["forward"])
        table = pd.DataFrame({"layer": range(1, layers + 1)})
        for name in shown:
            table[name], table[f"{name} error"] = zip(*scans[name], strict=True)
        draw_data(table, "scans")
    if guess is None:
        return step["title_alone"]
    left, _ = passage_and_toy()
    with left:
        st.markdown(in_reverse.format(**words))
        if "reset" in shown:
            st.markdown(really.format(**words))
    return step["title"]


def unknown(step: Step) -> str:
    """Step 8: what the published figures leave open."""
    published = read_json(ASSETS / "published.json")
    module = published["value_module"]
    left, right = passage_and_toy()
    given = module["ranks_floor"]
    with left:
        st.markdown(
            step["passages"][0].format(
                model=published["model"].split(",")[0],
                spent=sum(given),
                budget=module["average_rank"] * len(given),
            )
        )
        draw_task(step)
    with right:
        figures.draw(
            lesson_figures.published_scores(module["scores"], module["scores_std"], given),
            key="published",
            alt="Published scores of the value modules of 12 layers, with their spread over trials",
        )
        st.caption(state.plain(f"Source: {published['source']}"))
        columns = {"layer": range(1, len(given) + 1), "score": module["scores"]}
        columns |= {"standard deviation": module["scores_std"], "rank": given}
        draw_data(pd.DataFrame(columns), "published")
    left, _ = passage_and_toy()
    shuffled = {
        task: evidence()[f"{task}-shuffled"]["difference"] for task in ("docstrings", "trec")
    }
    left.markdown(
        step["passages"][1].format(
            tie=published["paper_results"]["generic_vs_task_text"],
            **{task: signed(difference) for task, difference in shuffled.items()},
        )
    )
    return step["title"]
