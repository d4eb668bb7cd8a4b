"""What a comparison came to, on the page: title, verdict, every seed's difference, the numbers."""

import json
from pathlib import Path

import streamlit as st

from adarank_core.comparison.arms import arm_label, has_lora
from adarank_core.comparison.tables import cost_table, parameter_range
from adarank_core.comparison.verdicts import METRIC_NAMES, ONE_SEED, Verdict, describe
from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import read_json
from adarank_core.runs.events import arm_facts
from adarank_core.runs.jobs import ALIVE, Run
from adarank_core.training.settings import Settings
from pages.parts.compare import trade_offs
from pages.parts.shared import curves, state
from pages.parts.shared.link import linked

__all__ = [
    "ALIVE",
    "draw_results",
    "draw_verdict",
    "fairness",
    "headline",
    "model_label",
    "read_verdict",
    "task_label",
]

METRICS = {
    "test_loss": "Test loss",
    "test_accuracy": "Test accuracy",
    "macro_f1": "Macro-F1",
    "auc": "AUC",
}
FEWEST_SEEDS = 3  # for a verdict's word in the title
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
    found = {(c["arm"], c["against"]): c for c in verdict.comparisons if c["metric"] == "test_loss"}
    if not found:
        return f"One arm alone on {task}: nothing to compare"
    pair = next((pair for pair in found if pair[0] == "adarank"), next(iter(found)))
    arm, other = map(arm_label, pair)
    word, seeds = found[pair]["verdict"], len(verdict.arms[pair[0]]["runs"])
    if 1 < seeds < FEWEST_SEEDS:
        return f"On {task}, {seeds} seeds are too few to tell {arm} from {other}"
    if word not in ("better", "worse"):
        nobody = "one seed cannot" if word == ONE_SEED else "nobody can"
        told = f" over {seeds} seeds" if seeds > 1 else ""
        return f"On {task}, {nobody} tell {arm} from {other}{told}"
    title = f"On {task}, {arm} is {word} than {other} over {seeds} seeds"
    shuffled = found.get(("adarank", "permuted"))
    if word == "better" and shuffled and shuffled["verdict"] != "better":
        title += ", but so may be any shuffling of its ranks"
    return title


def draw_verdict(run: Run, events, verdict: Verdict, more: bool) -> bool:
    """Draw the verdict: one sentence an arm, every seed's difference, costs, and the numbers.

    Parameters
    ----------
    run : Run
    events : sequence of dict
        The run's, as somebody has read them already.
    verdict : Verdict
    more : bool
        Whether more seeds may be asked for.

    Returns
    -------
    bool
        Whether they just were.
    """
    st.subheader("Verdict", anchor=False)
    seeds = len(next(iter(verdict.arms.values()))["runs"])
    told = [run for about in verdict.arms.values() for run in about["runs"]]
    # Of more than two classes there is no AUC.
    metrics = [key for key in METRICS if all(run.get(key) is not None for run in told)]
    metric = st.segmented_control(
        "Judged by",
        metrics,
        required=True,
        format_func=METRICS.get,
        label_visibility="collapsed",
        **linked("judged", metrics),
    )
    compared = [one for one in verdict.comparisons if one["metric"] == metric]
    for one in compared:
        st.markdown(_sentence(one, seeds))
    for arm, why in verdict.failed.items():
        st.markdown(f"**{state.plain(arm_label(arm))}** is not compared: {state.plain(why)}")
    words = {(one["arm"], one["against"]): one["verdict"] for one in compared}
    if words.get(("adarank", "uniform")) == "better" and "permuted" not in verdict.arms:
        st.caption(
            "Better than uniform alone does not show that the right modules got the ranks: "
            "compare with the arm **permuted** too."
        )
    asked = False
    if seeds == 1 and compared and more:
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.markdown("One seed decides nothing. Run four more?", width="stretch")
            asked = st.button("Run four more", key="compare_more", type="primary")
    if compared:
        figure = curves.differences(verdict, metric)
        st.plotly_chart(
            figure,
            width="stretch",
            key=f"compare_differences_{metric}",
            alt="Difference between two arms with every seed, its mean and interval; zero marked",
        )
        st.caption(
            "A circle is the difference with one seed, the diamond their mean with its 95% "
            "interval. An interval that holds zero decides nothing."
            if seeds > 1
            else "The difference with the only seed; without a second one there is no interval."
        )
        _data(curves.difference_table(verdict, metric), metric)
    draw_results(verdict.arms)
    if run.config:
        with st.expander("What was kept equal"):
            st.markdown(fairness(run.config, events, verdict.arms))
    _costs(verdict, metric)
    st.download_button(
        "verdict.json",
        json.dumps(verdict.to_dict(), indent=1) + "\n",
        "verdict.json",
        "application/json",
        on_click="ignore",
        icon=":material/download:",
        key="compare_verdict_json",
    )
    return asked


def _costs(verdict: Verdict, metric: str) -> None:
    """Draw what quality costs, with a switch between the kinds of cost."""
    st.subheader("What it costs", anchor=False)
    cost = st.segmented_control(
        "Cost",
        list(COSTS),
        required=True,
        format_func=COSTS.get,
        label_visibility="collapsed",
        **linked("cost"),
    )
    table = cost_table(verdict.arms, metric, cost)
    st.plotly_chart(
        trade_offs.trade_off(table, verdict.arms, metric, cost),
        width="stretch",
        key=f"compare_costs_{metric}_{cost}",
        alt=f"{METRICS[metric]} of every arm over its cost, {COSTS[cost]}; a small point a seed",
    )
    said = "A small point is a seed, the large one their mean."
    if cost == "parameters":
        said += " Arms with nearly the same number are drawn side by side."
        said += " **full** has no LoRA parameters." if "full" in verdict.arms else ""
    st.caption(said)
    _data(table, f"{metric}-{cost}")


def _data(table, name: str) -> None:
    """Draw a figure's table twin."""
    with st.expander("Data"):
        st.dataframe(table, hide_index=True, width="stretch")
        st.download_button(
            f"{name}.csv",
            table.to_csv(index=False),
            f"{name}.csv",
            "text/csv",
            on_click="ignore",
            key=f"compare_csv_{name}",
        )


def draw_results(arms: dict) -> None:
    """Draw the table of what every arm came to.

    Parameters
    ----------
    arms : dict
        As in `Verdict`, or as `finished_results` returns it.
    """
    reference = "uniform" if "uniform" in arms else next(iter(arms))
    number = st.column_config.NumberColumn
    st.dataframe(
        curves.results_table(arms, reference),
        hide_index=True,
        width="stretch",
        column_config={
            "LoRA parameters": number(format="localized"),
            "seconds for ranks": number(format="%.1f"),
            "seconds of search": number(format="%.0f"),
            "seconds of training": number(format="%.0f"),
            "learning rate": number(format="%g"),
            **{f"mean {name}": number(format="%.4f") for name in METRIC_NAMES.values()},
            "mean test accuracy": number(format="percent"),
        },
    )


def _sentence(compared: dict, seeds: int) -> str:
    """Write a comparison as Markdown, with the verdict's word in bold."""
    named = {**compared, **{key: arm_label(compared[key]) for key in ("arm", "against")}}
    before, word, after = describe(named, seeds).rpartition(f": {compared['verdict']}")
    bold = f": **{word.removeprefix(': ')}**" if word else ""
    return f"{state.plain(before)}{bold}{state.plain(after)}."


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
    settings = config["settings"]
    if config.get("learning_rates"):
        rates = ", ".join(f"{rate:g}" for rate in config["learning_rates"])
        rate = (
            f"the same grid for all, {rates}; each arm took the one with its lowest validation "
            "loss, and the search counts in its seconds."
        )
    else:
        rate = f"{settings.get('learning_rate', Settings.learning_rate):g} for all."
    if "full" in arms:
        rate += " Full fine-tuning is at a hundredth of it."
    facts = {
        "LoRA parameters": parameters,
        "Head": "drawn from the seed, so that with one seed all arms begin with the same.",
        "Data": "with one seed, the same texts in the same batches in the same order.",
        "Learning rate": rate,
        "Schedule": f"{settings['steps']} steps of {settings['batch_size']} texts; the learning "
        "rate rises to its peak and falls in a line to zero.",
        "Alpha": "twice the rank, so that LoRA's scaling is 2 in every module; a plan from a file "
        "keeps its own.",
        "Dropout": "the model's own, drawn from the seed; LoRA adds none.",
        "Test texts": "used once, at the very end; what is seen on the way is validation.",
        "Time": "the seconds that an arm's ranks took count as its cost.",
    }
    return "\n".join(f"- **{what}:** {how}" for what, how in facts.items())
