"""How a run stands: progress and time left, its place in the queue, or how it ended."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import streamlit as st

from adarank_core.comparison.arms import arm_label
from adarank_core.runs import jobs
from adarank_core.runs.jobs import ALIVE, Run
from adarank_core.runs.progress import RunProgress, duration
from pages.parts.shared import state
from pages.parts.shared.clock import local_time

__all__ = ["draw_status", "progress_line", "run_label", "runs_before"]


def run_label(run: Run) -> str:
    """Say in one line when a run was started, by the browser's clock, and how it stands.

    Examples
    --------
    >>> config = {"command": "compare", "task": "docstrings", "arms": ["uniform", "adarank"]}
    >>> run_label(Run(Path("20261124-230900-000000-compare"), config, "finished"))
    '2026-11-24 23:09 UTC · docstrings · uniform, adarank · finished'
    """
    said = [local_time(run)]
    if "task" in run.config:
        said.append(Path(run.config["task"]).name)
    if "study" in run.config:
        said.append(run.config["study"])
    if "arms" in run.config:
        said.append(", ".join(arm_label(arm) for arm in run.config["arms"]))
    return " · ".join([*said, run.state])


def runs_before(run: Run, alive: Sequence[Run]) -> list[Run]:
    """Return the runs that a queued one waits for, those at work first.

    Parameters
    ----------
    run : Run
    alive : sequence of Run
        All that are alive.

    Examples
    --------
    >>> runs = [Run(Path("a"), {}, "queued", place=2), Run(Path("b"), {}, "queued", place=1)]
    >>> [one.folder.name for one in runs_before(runs[0], [*runs, Run(Path("c"), {}, "running")])]
    ['c', 'b']
    """
    sooner = [one for one in alive if one.folder != run.folder and one.place < run.place]
    return sorted(sooner, key=lambda one: one.place)


def progress_line(at: RunProgress) -> str:
    """Say what is being done, how fast, and for how long still.

    Examples
    --------
    >>> progress_line(RunProgress("uniform seed 0: step 5 of 10", 0.5, 60.0, False, 85.0, 1500))
    'uniform seed 0: step 5 of 10 · about 1 min left · 85 examples a second · 1.5 GB'
    """
    said = [at.now]
    if at.seconds_left is not None:
        more = "at least" if at.at_least else "about"
        said.append(f"{more} {duration(at.seconds_left)} left")
    if at.examples_per_second is not None:
        said.append(f"{at.examples_per_second:.0f} examples a second")
    if at.memory_mb is not None:
        said.append(f"{at.memory_mb / 1000:.1f} GB")
    return " · ".join(said)


def draw_status(run: Run, at: RunProgress | None, alive: Sequence[Run], open_run) -> bool:
    """Draw how a run stands by now, and what can be done about it.

    Parameters
    ----------
    run : Run
    at : RunProgress or None
        Of a run that is alive.
    alive : sequence of Run
        All that are alive.
    open_run : callable
        Called with the name of a run of the same kind that is to be shown instead.

    Returns
    -------
    bool
        Whether it was just asked to go on.
    """
    if run.state in ALIVE:
        _under_way(run, at, alive, open_run)
        return False
    if run.state == "finished":
        if run.message:
            st.error(state.plain(f"It could not go on: {run.message}"), icon=":material/error:")
        return False
    words = {
        "cancelled": "Cancelled; what had finished is kept.",
        "interrupted": "The run's process ended without a word; what had finished is kept.",
        "failed": state.capitalised(run.message),
        "damaged": f"The run's folder is damaged: {run.message}. What is left is shown.",
    }[run.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.state in ("failed", "damaged"):
            st.error(state.plain(words), icon=":material/error:", width="stretch")
        else:
            st.info(words, icon=":material/info:", width="stretch")
        label = "Try again" if run.state == "failed" else "Go on"
        about = "What has finished is not run again."
        return bool(run.config) and st.button(label, key="compare_go_on", help=about)


def _under_way(run: Run, at: RunProgress, alive: Sequence[Run], open_run) -> None:
    cancelling = (run.folder / "cancel").exists()
    words = progress_line(at)
    if run.state == "queued":
        words = f"Place {run.place} in the queue"
    if cancelling:
        words = "cancelling" if run.state == "queued" else "cancelling after the current step"
    share = 0.0 if run.state == "queued" else at.share
    st.progress(share, text=state.plain(words), width="stretch")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Cancel",
            key="compare_cancel",
            on_click=_cancel,
            args=([run],),
            disabled=cancelling,
        )
        if len(alive) > 1:
            st.button(
                f"Cancel all {len(alive)} runs",
                key="compare_cancel_all",
                on_click=_cancel,
                args=(alive,),
                help="Those in the queue too. What has finished is kept.",
            )
    if run.state != "queued":
        return
    with st.container(gap="xsmall"):
        st.caption("Before it:")
        for one in runs_before(run, alive):
            label = state.plain(run_label(one))
            if one.folder.name.rpartition("-")[2] == run.folder.name.rpartition("-")[2]:
                st.button(
                    label,
                    key=f"compare_before_{one.folder.name}",
                    type="tertiary",
                    wrap=False,
                    on_click=open_run,
                    args=(one.folder.name,),
                )
            else:
                st.caption(label)


def _cancel(runs: Sequence[Run]) -> None:
    for run in runs:
        if jobs.run_folder(run.folder).state in ALIVE:  # still
            with suppress(OSError):  # it was deleted a moment ago
                jobs.cancel(run.folder)
