"""What a comparison came to, on the page: title, verdict, every seed's difference, the numbers."""

import json
from pathlib import Path

import streamlit as st

from adarank_core.jobs import Run
from adarank_core.scores import read_json
from adarank_core.verdicts import ONE_SEED, Verdict, describe
from pages.parts import curves, state
from pages.parts.progress import arm_label

__all__ = ["ALIVE", "draw_results", "draw_verdict", "headline", "read_verdict", "task_label"]

ALIVE = ("starting", "running")
METRICS = {"test_loss": "Test loss", "test_accuracy": "Test accuracy"}


def task_label(task: str) -> str:
    """Return a task's name; an own file is called by its file's name.

    Examples
    --------
    >>> task_label("docstrings"), task_label("uploads/mine.csv")
    ('docstrings', 'mine.csv')
    """
    return Path(task).name


def read_verdict(run: Run) -> Verdict | None:
    """Return the verdict of a run that is not under way, or None where it has none."""
    if run.state in ALIVE or not (run.folder / "verdict.json").exists():
        return None
    return Verdict.from_dict(read_json(run.folder / "verdict.json"))


def headline(run: Run, verdict: Verdict | None) -> str:
    """Say the finding, or what is going on, as the page's title.

    Examples
    --------
    >>> headline(Run(Path("run"), {"task": "docstrings"}, (), "running"), None)
    'Training on docstrings, side by side'
    """
    if run.state in ALIVE and not run.config:
        return "A comparison is starting"
    task = task_label(run.config.get("task", "its task"))
    if run.state in ALIVE:
        return f"Training on {task}, side by side"
    if verdict is None:
        return {"failed": "The comparison failed"}.get(run.state, "The comparison is unfinished")
    found = {(c["arm"], c["against"]): c for c in verdict.comparisons if c["metric"] == "test_loss"}
    if not found:
        return f"One arm alone on {task}: nothing to compare"
    pair = next((pair for pair in found if pair[0] == "adarank"), next(iter(found)))
    arm, other = map(arm_label, pair)
    word = found[pair]["verdict"]
    if word not in ("better", "worse"):
        nobody = "one seed cannot" if word == ONE_SEED else "nobody can"
        return f"On {task}, {nobody} tell {arm} from {other}"
    title = f"On {task}, {arm} is {word} than {other}"
    shuffled = found.get(("adarank", "permuted"))
    if word == "better" and shuffled and shuffled["verdict"] != "better":
        title += ", but so may be any shuffling of its ranks"
    return title


def draw_verdict(run: Run, verdict: Verdict, more: bool) -> bool:
    """Draw the verdict: one sentence an arm, every seed's difference, and the numbers.

    Parameters
    ----------
    run : Run
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
    metric = st.segmented_control(
        "Judged by",
        list(METRICS),
        default="test_loss",
        required=True,
        format_func=METRICS.get,
        key="compare_metric",
        label_visibility="collapsed",
        persist_state="session",
    )
    compared = [one for one in verdict.comparisons if one["metric"] == metric]
    for one in compared:
        st.markdown(_sentence(one, seeds))
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
    draw_results(verdict.arms)
    with st.expander("What was kept equal"):
        st.markdown(_fairness(run, verdict.arms))
    with st.expander("Data"):
        table = curves.difference_table(verdict, metric)
        st.dataframe(table, hide_index=True, width="stretch")
        st.download_button(
            f"{metric}.csv",
            table.to_csv(index=False),
            f"{metric}.csv",
            "text/csv",
            on_click="ignore",
            key="compare_seeds_csv",
        )
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
            "mean test loss": number(format="%.4f"),
            "mean test accuracy": number(format="percent"),
        },
    )


def _sentence(compared: dict, seeds: int) -> str:
    """Write a comparison as Markdown, with the verdict's word in bold."""
    named = {**compared, **{key: arm_label(compared[key]) for key in ("arm", "against")}}
    before, word, after = describe(named, seeds).rpartition(f": {compared['verdict']}")
    bold = f": **{word.removeprefix(': ')}**" if word else ""
    return f"{state.plain(before)}{bold}{state.plain(after)}."


def _fairness(run: Run, arms: dict) -> str:
    """List, as Markdown, what all arms had in common."""
    counts = sorted({about["lora_parameters"] for about in arms.values()})
    if len(counts) == 1:
        parameters = f"{counts[0]:,} in every arm."
    else:
        apart = (counts[-1] - counts[0]) / counts[-1]
        parameters = f"{counts[0]:,} to {counts[-1]:,}, at most {apart:.2%} apart."
    settings = run.config["settings"]
    facts = {
        "LoRA parameters": parameters,
        "Head": "drawn from the seed, so that with one seed all arms begin with the same.",
        "Data": "with one seed, the same texts in the same batches in the same order.",
        "Schedule": f"{settings['steps']} steps of {settings['batch_size']} texts; the learning "
        f"rate rises to {settings['learning_rate']:g} and falls in a line to zero.",
        "Test texts": "used once, at the very end; what is seen on the way is validation.",
    }
    return "\n".join(f"- **{what}:** {how}" for what, how in facts.items())
