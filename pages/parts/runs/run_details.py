"""What the page Runs shows of one selected run, or of two comparisons beside each other."""

from typing import Annotated

import streamlit as st
from annotated_types import Interval
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.comparison.arms import arm_label
from adarank_core.comparison.sentences import describe, why_no_verdict
from adarank_core.comparison.verdicts import Count, Verdict
from adarank_core.errors import AdaRankError
from adarank_core.files import read_json
from adarank_core.runs.answers import answer_or_damage
from adarank_core.runs.events import finished_results
from adarank_core.runs.jobs import Run, run_folder
from adarank_core.schemas import STRICT, validated
from pages.parts.compare.how_again import draw_how_again
from pages.parts.compare.outcome import ALIVE, read_verdict
from pages.parts.runs import run_table
from pages.parts.shared import figures, state

__all__ = ["draw_pair", "draw_run"]

ENDED = {
    "cancelled": "It was cancelled; what had finished is kept.",
    "interrupted": "Its process ended without a word; what had finished is kept.",
}


class _Result(TypedDict):
    __pydantic_config__ = STRICT
    test_loss: Annotated[float, Interval(ge=-1e15, le=1e15)]
    test_accuracy: Annotated[float, Interval(ge=0, le=1)]
    lora_parameters: Count
    train_seconds: Annotated[float, Interval(ge=0, le=1e15)]


def draw_run(run: Run, every: float) -> None:
    """Draw one run: how it stands, what it came to and how it was started.

    Parameters
    ----------
    run : Run
    every : float
        Seconds between two looks at a run that is at work.
    """
    if run.state == "failed":
        st.error(state.plain(state.capitalised(run.message) or "It failed; its log.txt says why."))
    elif run.state == "finished" and run.message:
        st.error(state.plain(f"It could not go on: {run.message}"))
    elif run.state == "damaged":
        st.error(state.plain(f"Its folder is damaged: {run.message}. What is left is shown."))
    elif run.state in ENDED:
        go_on = "add `--resume` to its command."
        if run_table.kind(run) in ("compare", "lab"):
            go_on = "**Open** it and press **Go on**."
        st.info(f"{ENDED[run.state]} To go on, {go_on}", icon=":material/info:")
    if run_table.kind(run) == "finetune":
        st.fragment(run_every=every if run.state in ALIVE else None)(_training)(run)
    elif run_table.kind(run) == "lab":
        _study(run)
    elif verdict := _verdict(run):
        for sentence in _sentences(verdict):
            st.markdown(sentence)
    if run_table.kind(run) == "compare":
        draw_how_again(run)
    elif command := run_table.command(run):
        with st.expander("Command"):
            st.code(command, language="bash", wrap_lines=True)


def _training(run: Run) -> None:
    """Draw the result and the losses of a fine-tuning as they are by now."""
    try:
        result = validated(read_json(run.folder / "result.json"), _Result, "the result")
        cards = {
            "Test loss": f"{result['test_loss']:.4f}",
            "Test accuracy": f"{result['test_accuracy']:.1%}",
            "LoRA parameters": f"{result['lora_parameters']:,}",
            "Trained for": f"{result['train_seconds']:.0f} s",
        }
    except AdaRankError:
        st.caption("It has no result yet." if run.state in ALIVE else "It has no result.")
    else:
        with st.container(horizontal=True):
            for name, value in cards.items():
                st.metric(name, value, border=True)
    figure = run_table.loss_curves(run_folder(run.folder))
    if run.state not in ALIVE and not any(len(trace.x) for trace in figure.data):
        st.caption("No curves are left.")
        return
    figures.draw(
        figure,
        key="runs_losses",
        alt="Train and validation loss over the steps",
    )


def _study(run: Run) -> None:
    """Say what a study has come to."""
    if answer := answer_or_damage(run.folder)[0]:
        st.markdown(state.plain(answer))
    else:
        st.caption("It has no answer, for not all is measured.")


def _verdict(run: Run) -> Verdict | None:
    """Return a run's verdict; one that cannot be read counts as none."""
    try:
        return read_verdict(run)
    except AdaRankError:  # the run's state tells it
        return None


def _sentences(verdict: Verdict) -> list[str]:
    """Return what a verdict says of its primary metric, a sentence for every compared arm."""
    told = [state.plain(describe(one, verdict, arm_label)) + "." for one in verdict.primary]
    why = why_no_verdict(verdict)
    return ([state.plain(why)] if why else []) + told


def draw_pair(first: Run, second: Run) -> None:
    """Draw two comparisons beside each other: results, verdicts, curves, settings.

    Parameters
    ----------
    first, second : Run
    """
    pair = {"A": first, "B": second}
    verdicts = {}
    for column, (name, run) in zip(st.columns(2, gap="medium"), pair.items(), strict=True):
        with column:
            st.markdown(f"**{name}**: {state.plain(run_table.label(run))}, {run.state}")
            verdicts[name] = verdict = _verdict(run)
            for sentence in _sentences(verdict) if verdict else ["It has no verdict."]:
                st.caption(sentence)
    if first.config.get("task") != second.config.get("task"):
        st.warning("Their tasks differ: a loss of one says nothing about a loss of the other.")
    table = run_table.results(
        {
            name: verdicts[name].arms if verdicts[name] else finished_results(run.events)
            for name, run in pair.items()
        }
    )
    if table.empty:
        st.caption("Neither has a result yet.")
    else:
        number = st.column_config.NumberColumn
        st.dataframe(
            table,
            hide_index=True,
            width="stretch",
            height="content",
            column_config={
                "arm": st.column_config.TextColumn(pinned=True),
                "LoRA parameters": number(format="localized"),
                "seconds for ranks": number(format="%.1f"),
                "mean test loss": number(format="%.4f"),
                "mean test accuracy": number(format="percent"),
            },
            alt="What all arms of both runs came to",
        )
    figure = run_table.overlay(pair)
    if figure.data:
        figures.draw(
            figure,
            key="runs_overlay",
            alt="Validation loss of the arms of both runs: the second run's markers are open",
        )
    else:
        st.caption("No curves are left.")
    differing = run_table.differing(first.config, second.config)
    if differing.empty:
        st.caption("They were asked for the same, and ran with the same versions.")
        return
    st.markdown("What differs in their settings")
    st.dataframe(
        differing, hide_index=True, width="stretch", alt="Settings of A and B where they differ"
    )
