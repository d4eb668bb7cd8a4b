"""What a comparison came to, on the page: title, verdict, every seed's difference, the numbers."""

import json
from pathlib import Path

import streamlit as st

from adarank_core.comparison.arms import arm_label, has_lora
from adarank_core.comparison.sentences import NOBODY, word_of
from adarank_core.comparison.tables import cost_table, parameter_range
from adarank_core.comparison.verdicts import (
    METRIC_NAMES,
    NO_PRACTICAL,
    ONE_SEED,
    TOO_FEW,
    Verdict,
)
from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import read_json
from adarank_core.runs.events import arm_facts
from adarank_core.runs.jobs import ALIVE, Run
from pages.parts.compare import trade_offs
from pages.parts.compare.asked import alpha_sentence, rates_sentence
from pages.parts.compare.judgement import (
    METRICS,
    draw_comparisons,
    draw_data,
    draw_differences,
    draw_numbers,
    draw_secondary,
)
from pages.parts.shared import curves, figures, glossary, state
from pages.parts.shared.link import linked
from pages.parts.shared.tables import signed_table

__all__ = [
    "ALIVE",
    "draw_details",
    "draw_results",
    "draw_verdict",
    "fairness",
    "headline",
    "model_label",
    "read_verdict",
    "task_label",
]

COSTS = {"parameters": "LoRA parameters", "seconds": "Seconds"}


def task_label(task: str) -> str:
    """Return a task's name; an own file is called by its file's name.

    Examples
    --------
    >>> task_label("docstrings"), task_label("uploads/mine.csv")
    ('docstrings', 'mine.csv')
    """
    return Path(task).name


def model_label(model: str) -> str:
    """Return a model's name; a folder that is told by its whole path is called by its own name.

    Examples
    --------
    >>> model_label("prajjwal1/bert-tiny"), model_label("/srv/models/mine")
    ('prajjwal1/bert-tiny', 'mine')
    """
    return Path(model).name if Path(model).is_absolute() else model


def read_verdict(run: Run) -> Verdict | None:
    """Return the verdict of a run that is not under way, or None where it has none."""
    path = run.folder / "verdict.json"
    if run.state in ALIVE or not path.exists():
        return None
    try:
        verdict = Verdict.from_dict(read_json(path))
    except AdaRankError as error:
        raise AdaRankError(by_name(error, path)) from None
    if not verdict.arms:
        raise AdaRankError("the verdict has no arms; it must have at least one")
    return verdict


def headline(run: Run, verdict: Verdict | None) -> str:
    """Say the finding, or what is going on, as the page's title.

    Examples
    --------
    >>> headline(Run(Path("run"), {"task": "docstrings"}, "running"), None)
    'Training on docstrings, side by side'
    """
    if run.state == "queued":
        return "A comparison waits for its turn"
    if run.state in ALIVE and not run.config:
        return "A comparison is starting"
    task = task_label(run.config.get("task") or (verdict.task if verdict else "its task"))
    if run.state in ALIVE:
        return f"Training on {task}, side by side"
    if verdict is None:
        titles = {
            "failed": "The comparison failed",
            "damaged": "The comparison's folder is damaged",
        }
        return titles.get(run.state, "The comparison is unfinished")
    seeds, words = verdict.seeds, {}
    if verdict.nobody_learned:
        over = f"over {seeds} seeds" if seeds > 1 else "with one seed"
        return f"On {task}, {NOBODY}: no arm is clearly better than guessing {over}"
    for one in verdict.primary:
        words[one["arm"], one["against"]] = word_of(one, verdict)
    if not words:
        if len(verdict.arms) > 1:
            return f"On {task}, {METRIC_NAMES[verdict.primary_metric]} was not measured"
        return f"One arm alone on {task}: nothing to compare"
    pair = next((pair for pair in words if pair[0] == "adarank"), next(iter(words)))
    arm, other = map(arm_label, pair)
    seeds = verdict.seeds_of({"arm": pair[0], "against": pair[1]})
    word, over = words[pair], f" over {seeds} seeds"
    if word == ONE_SEED:
        title = f"On {task}, one seed cannot tell {arm} from {other}"
    elif word == TOO_FEW:
        title = f"On {task}, {seeds} seeds are too few to tell {arm} from {other}"
    elif word in ("better", "worse"):
        title = f"On {task}, {arm} is {word} than {other}{over}"
        if word == "better" and words.get(("adarank", "permuted"), "better") != "better":
            title += ", but so may be any shuffling of its ranks"
    elif word == NO_PRACTICAL:
        title = f"On {task}, {arm} or {other} makes no practical difference{over}"
    else:
        title = f"On {task}, {seeds} seeds detect no difference between {arm} and {other}"
    return title + (" (exploratory)" if verdict.exploratory else "")


def draw_verdict(verdict: Verdict, more: bool) -> bool:
    """Draw the verdict: one sentence an arm, and every seed's difference.

    Parameters
    ----------
    verdict : Verdict
    more : bool
        Whether more seeds may be asked for.

    Returns
    -------
    bool
        Whether they just were.
    """
    terms = ("seed", "interval", "p, corrected", "smallest detectable")
    st.header("Verdict", anchor=False, help=glossary.explained(*terms))
    asked, offered = False, verdict.seeds == 1 and bool(verdict.primary) and more
    draw_comparisons(verdict, offered)
    if offered:
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.markdown(f"Luck or a difference: {ONE_SEED}.", width="stretch")
            asked = st.button("Run four more", key="compare_more", type="primary")
    if verdict.primary:
        draw_differences(verdict, verdict.primary_metric)
    return asked


def draw_details(run: Run, events, verdict: Verdict) -> None:
    """Draw the numbers behind a verdict, what was kept equal, and what the arms cost.

    Parameters
    ----------
    run : Run
    events : sequence of dict
        The run's, as somebody has read them already.
    verdict : Verdict
    """
    st.subheader("The numbers", anchor=False)
    if verdict.primary:
        draw_numbers(verdict, verdict.primary_metric)
    draw_results(verdict.arms)
    draw_secondary(verdict)
    if run.config:
        with st.expander("What was kept equal"):
            st.markdown(fairness(run.config, events, verdict.arms))
    _costs(verdict, verdict.primary_metric)
    st.download_button(
        "verdict.json",
        json.dumps(verdict.to_dict(), indent=1) + "\n",
        "verdict.json",
        "application/json",
        on_click="ignore",
        icon=":material/download:",
        key="compare_verdict_json",
    )


def _costs(verdict: Verdict, metric: str) -> None:
    """Draw what quality costs, with a switch between the kinds of cost."""
    st.header("What it costs", anchor=False)
    cost = st.segmented_control(
        "Cost",
        list(COSTS),
        required=True,
        format_func=COSTS.get,
        label_visibility="collapsed",
        **linked("cost"),
    )
    table = cost_table(verdict.arms, metric, cost)
    points = "a small point a seed" if verdict.seeds > 1 else "a point an arm"
    figures.draw(
        trade_offs.trade_off(table, verdict.arms, metric, cost),
        key=f"compare_costs_{metric}_{cost}",
        alt=f"{METRICS[metric]} of every arm over its cost, {COSTS[cost]}; {points}",
    )
    said = ["A small point is a seed, the large one their mean."] if verdict.seeds > 1 else []
    if cost == "parameters":
        said.append("Arms with nearly the same number are drawn side by side.")
        said += ["**full** has no LoRA parameters."] if "full" in verdict.arms else []
    if said:
        st.caption(" ".join(said))
    draw_data(table, f"{metric}-{cost}")


def draw_results(arms: dict) -> None:
    """Draw the table of what every arm came to.

    Parameters
    ----------
    arms : dict
        As in `Verdict`, or as `finished_results` returns it.
    """
    reference = "uniform" if "uniform" in arms else next(iter(arms))
    number = st.column_config.NumberColumn
    table = curves.results_table(arms, reference)
    more = f"more than {arm_label(reference)}"
    if more in table and not table[more].any():
        table = table.drop(columns=more)  # all have the same, as the column beside it shows
    st.dataframe(
        signed_table(table),
        hide_index=True,
        width="stretch",
        column_config={
            "LoRA parameters": number(format="localized"),
            "arm": st.column_config.TextColumn(pinned=True),
            "seconds for ranks": number(
                "ranks (s)", format="%.1f", help="Seconds that the arm's ranks took."
            ),
            "seconds of search": number(
                "search (s)", format="%.0f", help="Seconds of the search for its learning rate."
            ),
            "seconds of training": number(
                "training (s)", format="%.0f", help="Seconds of training a seed."
            ),
            "learning rate": number(format="%g"),
            **{
                f"mean {name}": number(
                    format="percent" if name == "test accuracy" else "%.4f",
                    help=glossary.explained_in(name),
                )
                for name in METRIC_NAMES.values()
            },
        },
    )


def fairness(config: dict, events, arms: dict) -> str:
    """List, as Markdown, what all arms had in common.

    Parameters
    ----------
    config : dict
        The run's.
    events : sequence of dict
    arms : dict
        As in `Verdict`.

    Examples
    --------
    >>> config = {"settings": {"steps": 10, "batch_size": 32, "learning_rate": 0.005}}
    >>> arms = {"uniform": {"lora_parameters": 1024}}
    >>> print(fairness(config, [], arms).splitlines()[0])
    - **LoRA parameters:** 1,024 in every arm.
    """
    low, high = parameter_range(arms)
    parameters = f"{high:,} in every arm."
    if low < high:
        parameters = f"{low:,} to {high:,}, at most {(high - low) / high:.2%} apart."
    residuals = {arm: about.get("residual") for arm, about in arm_facts(events).items()}
    apart = [
        f"{state.plain(arm_label(arm))} {abs(residuals[arm]):,} "
        + ("short" if residuals[arm] > 0 else "over")
        for arm in arms
        if has_lora(arm) and residuals.get(arm)
    ]
    if apart:
        parameters += f" Against the budget: {', '.join(apart)}."
    if "uniform-double" in arms:
        parameters += " **uniform-double** is larger on purpose, and left out of this."
    settings, rate = config["settings"], rates_sentence(config)
    if "full" in arms:
        rate += " Full fine-tuning is at a hundredth of it."
    facts = {
        "LoRA parameters": parameters,
        "Head": "drawn from the seed, so that with one seed all arms begin with the same.",
        "Data": "with one seed, the same texts in the same batches in the same order.",
        "Learning rate": rate,
        "Schedule": f"{settings['steps']} steps of {settings['batch_size']} texts; the learning "
        "rate rises to its peak and falls in a line to zero.",
        "Alpha": alpha_sentence(config),
        "Dropout": "the model's own, drawn from the seed; LoRA adds none.",
        "Test texts": "used once, at the very end; what is seen on the way is validation.",
        "Time": "the seconds that an arm's ranks took count as its cost.",
    }
    return "\n".join(f"- **{what}:** {how}" for what, how in facts.items())
