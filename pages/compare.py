"""Compare: train several ways of choosing ranks side by side, and be told honestly who is better.

A comparison is a process of its own; this page starts it and reads its folder, whose name is in
the URL. It is therefore the same after a reload, in another tab and after a restart.
"""

import math
import time
from pathlib import Path

import streamlit as st

from adarank_core.comparison.request import ComparisonRequest
from adarank_core.errors import AdaRankError
from adarank_core.limits import is_walled
from adarank_core.runs import jobs, visitors
from adarank_core.runs.curves import curve_table
from adarank_core.runs.events import finished_results
from adarank_core.training.settings import Settings
from pages.parts.compare.asked import ALPHAS, rate_phrase
from pages.parts.compare.event_follower import Follower, follow
from pages.parts.compare.how_again import draw_how_again
from pages.parts.compare.launcher import arguments, launcher
from pages.parts.compare.legend import draw_legend
from pages.parts.compare.outcome import (
    ALIVE,
    draw_details,
    draw_results,
    draw_verdict,
    headline,
    model_label,
    read_verdict,
    task_label,
)
from pages.parts.compare.rate_curves import draw_rates
from pages.parts.compare.run_status import draw_status, run_label
from pages.parts.shared import curves, figures, glossary, link, state, visitor
from pages.parts.shared.link import linked
from pages.parts.shared.sidebar import sidebar

CURVE_NAMES = {
    "validation_loss": "Validation loss",
    "validation_accuracy": "Validation accuracy",
    "train_loss": "Train loss",
}
SHOWN = link.LINK["run"].key
SEEN = "compare_seen"  # runs that were shown in this session
MORE_SEEDS = 4
RECENT = 30
DAY = 24 * 3600  # seconds
POLL = 2  # seconds; a look takes about 0.03 s of one core where 20,000 events are recorded


# Which run is shown ------------------------------------------------------------------------------


def comparison_names() -> list[str]:
    """Return the names of all comparisons' folders, the newest first."""
    folders = jobs.run_folders(visitor.runs_home())
    return [path.name for path in folders if path.name.endswith("-compare")]


def shown_run() -> jobs.Run | None:
    """Return the run that the link names; None stands for the stored example.

    A name is looked up among the folders that are there, so that it can never be a path.
    """
    name = st.session_state.get(SHOWN)
    if not name:
        return None
    if name not in comparison_names():
        show(None)
        if name in {path.name for path in jobs.run_folders(visitor.runs_home())}:
            said = "That run is no comparison, it is shown on the page **Runs**"
        elif is_walled():
            said = "That run is not yours, or it is not on this machine any more"
        else:
            said = "That run is not on this machine any more"
        st.warning(f"{said}; here is the stored example.")
        return None
    return jobs.run_folder(visitor.runs_home() / name)


def come_back() -> None:
    """Show the newest run at work, or the newest of all where it has ended within a day.

    Not where one is asked for, nor what this session has seen.
    """
    if st.session_state.get(SHOWN):
        return
    recent = [jobs.run_folder(visitor.runs_home() / name) for name in comparison_names()[:RECENT]]
    at_work = [run for run in recent if run.state in ALIVE]
    just_ended = [run for run in recent[:1] if ended_lately(run)]
    for run in (*at_work, *just_ended):
        if run.folder.name not in seen():
            show(run.folder.name)
            return


def ended_lately(run: jobs.Run) -> bool:
    """Tell whether a run came to its verdict within a day."""
    if run.state != "finished":
        return False
    try:
        return time.time() - (run.folder / "verdict.json").stat().st_mtime < DAY
    except OSError:  # it has none, or was deleted a moment ago
        return False


def seen() -> set[str]:
    """Return the names of the runs that this session has shown."""
    return st.session_state.setdefault(SEEN, set())


def show(name: str | None) -> None:
    """Put a run's name into the link, or take it out."""
    seen().add(name)
    if st.session_state.get(SHOWN) != name:
        link.choose("run", name)


def choose_run(run: jobs.Run | None, recent: list[jobs.Run]) -> None:
    """Draw the box that reopens a recent run."""
    labels = {"": "Stored example", **{r.folder.name: run_label(r) for r in recent}}
    if run is not None:
        labels.setdefault(run.folder.name, run_label(run))
    if len(labels) == 1:
        return
    st.session_state["compare_open"] = run.folder.name if run else ""
    st.selectbox(
        "Show",
        list(labels),
        key="compare_open",
        format_func=labels.get,
        on_change=lambda: show(st.session_state["compare_open"] or None),
    )


# Start, go on ------------------------------------------------------------------------------------


def start(config: dict, folder: Path | None = None) -> None:
    """Start a comparison, or go on with the one in a folder, and show it.

    It waits for its turn where others are at work.
    """
    words = [*arguments(config), "--queue", *(["--resume"] if folder else [])]
    try:
        request = ComparisonRequest.from_dict(config)
        request.check(folder)
        folder = visitors.start(words, visitor.runs_home(), request.inputs, folder)
    except AdaRankError as error:
        state.show_error(error)
        return
    except OSError as error:
        st.error(f"The run cannot be started ({error.strerror}).", icon=":material/error:")
        return
    show(folder.name)
    st.rerun()


# What a run shows --------------------------------------------------------------------------------


def settings_line(run: jobs.Run) -> str:
    """Say in one line what a run was asked for."""
    config = run.config
    if not config:
        return ""
    settings, seeds = config["settings"], ", ".join(map(str, config["seeds"]))
    return (
        f"{model_label(config['model'])} on {task_label(config['task'])}, average rank "
        f"{config['average_rank']:g}, {settings['steps']} steps of {settings['batch_size']} texts, "
        f"{rate_phrase(config)}, {ALPHAS[config.get('alpha', 'proportional')]}, "
        f"seed{'s'[: len(config['seeds']) > 1]} {seeds}"
    )


def draw_run(shown: jobs.Run, alive: list[jobs.Run]) -> None:
    """Draw how far a run is, the curves of all arms, and what is known of them."""
    link.keep()
    run, follower = jobs.run_folder(shown.folder), follow(shown.folder)
    if (run.state, run.place) != (shown.state, shown.place):
        st.rerun()  # the rest of the page has to hear of it, and polling may have to end
    if run.state in ALIVE:
        draw_status(run, follower.progress(run.config), alive, show)
    draw_curves(run, follower)
    draw_legend(run.config, follower.events)


def draw_curves(run: jobs.Run, follower: Follower) -> None:
    """Draw the curves of all arms as they are by now, with a switch and their numbers."""
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        metric = st.segmented_control(
            "Curve",
            list(CURVE_NAMES),
            required=True,
            format_func=CURVE_NAMES.get,
            label_visibility="collapsed",
            **linked("curve"),
        )
        smoothing = 0.0
        if metric == "train_loss":
            smoothing = st.slider(
                "Smoothing",
                0.0,
                0.95,
                step=0.05,
                width=200,
                help="How much of its past a step takes over (an exponential moving average). The "
                "faint lines are the mean without it.",
                **linked("smoothing"),
            )
    arms, steps = run.config.get("arms", ()), run.config.get("settings", {}).get("steps", 1)

    def table_and_figure():
        table = curve_table(follower.events, metric)
        return table, curves.curves(table, metric, arms, steps, smoothing)

    key = (metric, smoothing, run.state, tuple(arms))
    table, figure = follower.cached_drawing(key, table_and_figure)
    if table.empty and run.state not in ALIVE:
        st.caption("No curves are left.")
        return
    if table.empty:
        with st.container(height=curves.HEIGHT, vertical_alignment="center", border=True):
            st.markdown(coming(run, follower, metric), text_alignment="center")
        return
    figures.draw(
        figure,
        key=f"compare_curves_{metric}",
        alt=f"{CURVE_NAMES[metric]} over the steps, one colour an arm",
    )
    if metric == "train_loss" and "adalora" in arms:
        st.caption(
            "**adalora**'s train loss has the penalty in it that keeps its matrices orthogonal, "
            "so it cannot be held against the others'; its validation loss can."
        )
    # A closed table is not sent: at every look it would cost more than all the rest.
    data = st.expander("Data", key="compare_curves_data", on_change="rerun")
    if data.open:
        with data:
            st.dataframe(table, hide_index=True, width="stretch", height=240)
            st.download_button(
                f"{metric}.csv",
                lambda: table.to_csv(index=False),
                f"{metric}.csv",
                "text/csv",
                on_click="ignore",
                key="compare_curves_csv",
            )


def coming(run: jobs.Run, follower: Follower, metric: str) -> str:
    """Say what comes before the first point of a curve."""
    if run.state == "queued":
        return "The curves begin when it is this run's turn."
    if metric != "train_loss" and any(event["event"] == "step" for event in follower.events):
        settings = Settings(**run.config["settings"])
        first = math.ceil(settings.steps / settings.evaluations)
        return (
            f"The validation texts are read for the first time after step {first:,}. **Train "
            "loss** has every step."
        )
    before = "the task and the model are loaded, and the modules are scored"
    if run.config.get("learning_rates"):
        before += ", and every arm looks for its learning rate, which is not drawn"
    return f"The curves begin with the first training step. Before it {before}."


# The page ----------------------------------------------------------------------------------------


def draw() -> None:
    """Draw the whole page."""
    state.open_page()
    if st.session_state.pop(link.ARRIVED, False):
        come_back()
    choice = sidebar(("model", "task", "seed", "rank"))
    opened = shown_run()
    run = opened or state.example_run()
    try:
        verdict = read_verdict(run)
    except AdaRankError:  # the run's state tells it
        verdict = None
    st.title(state.plain(headline(run, verdict)), anchor=False)
    seeds = len(run.config.get("seeds", ())) or (verdict.seeds if verdict else 0)
    lines = " Thin lines are seeds, thick lines their mean." if seeds > 1 else ""
    st.markdown(
        "Every arm is LoRA with as many parameters, on the same texts in the same order; only "
        f"the ranks differ.{lines}",
        help=glossary.explained("loss", "nats", "accuracy", "validation", "test", "seed"),
    )
    state.badge("stored example" if opened is None else "your run", settings_line(run))
    home = visitor.runs_home()
    recent = [jobs.run_folder(home / name) for name in comparison_names()[:RECENT]]
    choose_run(opened, recent)
    under_way = run.state in ALIVE
    alive = [one for one in jobs.runs(home) if one.state in ALIVE] if under_way else []
    picture, form = st.columns([2, 1], gap="large")
    with picture:
        if not under_way and draw_status(run, None, (), show):
            start(run.config, run.folder)
        if verdict is not None and draw_verdict(verdict, opened is not None and bool(run.config)):
            known = run.config["seeds"]
            more = [seed for seed in range(len(known) + MORE_SEEDS) if seed not in known]
            start({**run.config, "seeds": [*known, *more[:MORE_SEEDS]]}, run.folder)
        st.fragment(draw_run, run_every=POLL if under_way else None)(run, alive)
    with form:
        asked = launcher(choice, recent)
        if asked is not None:
            start(asked)
    if verdict is not None:
        draw_details(run, follow(run.folder).events, verdict)
        draw_rates(verdict.arms)
    elif not under_way and (done := finished_results(follow(run.folder).events)):
        st.header("What had finished", anchor=False)
        draw_results(done)
    draw_how_again(run)
    state.page_link("learn", "Next: why this works")


try:
    draw()
except AdaRankError as error:  # such as a home that cannot be made
    state.show_error(error)
