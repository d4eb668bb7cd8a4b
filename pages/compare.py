"""Compare: train several ways of choosing ranks side by side, and be told honestly who is better.

A comparison is a process of its own; this page starts it and reads its folder, whose name is in
the URL. It is therefore the same after a reload, in another tab and after a restart.
"""

import json
import shlex
from pathlib import Path

import streamlit as st

from adarank_core import jobs
from adarank_core.arms import ARMS, check_arms
from adarank_core.errors import AdaRankError
from adarank_core.folders import runs_folder
from pages.parts import curves, progress, state
from pages.parts.outcome import (
    ALIVE,
    draw_results,
    draw_verdict,
    headline,
    read_verdict,
    task_label,
)

CURVE_NAMES = {
    "validation_loss": "Validation loss",
    "validation_accuracy": "Validation accuracy",
    "train_loss": "Train loss",
}
SHOWN = "compare_run"  # keeps the run's name in the session while other pages are visited
MORE_SEEDS = 4
RECENT = 30


# Which run is shown ------------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names of all comparisons' folders, the newest first."""
    folders = (path for path in runs_folder().iterdir() if path.is_dir())
    return sorted((path.name for path in folders if path.name.endswith("-compare")), reverse=True)


def shown_run() -> jobs.Run | None:
    """Return the run that the URL or else the session names; None stands for the stored example.

    A name is looked up among the folders that are there, so that it can never be a path.
    """
    name = st.query_params.get("run") or st.session_state.get(SHOWN)
    if not name:
        return None
    if name not in names():
        show(None)
        st.warning("That run is not on this machine any more; here is the stored example.")
        return None
    show(name)
    return jobs.run_folder(runs_folder() / name)


def show(name: str | None) -> None:
    """Put a run's name into the URL and the session, or take it out of both."""
    if name is None:
        st.session_state.pop(SHOWN, None)
        st.query_params.pop("run", None)
        return
    st.session_state[SHOWN] = name
    if st.query_params.get("run") != name:
        st.query_params["run"] = name


def choose_run(run: jobs.Run | None) -> None:
    """Draw the box that reopens a recent run."""
    recent = [jobs.run_folder(runs_folder() / name) for name in names()[:RECENT]]
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


def run_label(run: jobs.Run) -> str:
    """Say in one line when a run was started, what it compares, and how it stands."""
    stamp = run.folder.name
    when = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]} {stamp[9:11]}:{stamp[11:13]} UTC"
    if not run.config:
        return f"{when} · {run.state}"
    arms = ", ".join(progress.arm_label(arm) for arm in run.config["arms"])
    return f"{when} · {task_label(run.config['task'])} · {arms} · {run.state}"


# Start, cancel, go on ----------------------------------------------------------------------------


def arguments(config: dict) -> list[str]:
    """Return the command line of a comparison, without its output folder."""
    settings = {name.replace("_", "-"): value for name, value in config["settings"].items()}
    flags = {
        "model": config["model"],
        "task": config["task"],
        "arms": ",".join(config["arms"]),
        "average-rank": f"{config['average_rank']:g}",
        "seeds": ",".join(map(str, config["seeds"])),
        "trials": config["trials"],
        **{name: value for name, value in settings.items() if name != "evaluations"},
    }
    # One word each, so that a value that begins with a dash is not taken for a flag.
    given = {flag: value for flag, value in flags.items() if value is not None}
    return ["compare", *(f"--{flag}={value}" for flag, value in given.items())]


def start(config: dict, folder: Path | None = None) -> None:
    """Start a comparison, or go on with the one in a folder, and show it."""
    try:
        if folder is None:
            folder = jobs.new_run_folder("compare")
            jobs.start(arguments(config), folder)
        else:
            jobs.start([*arguments(config), "--resume"], folder)
    except OSError as error:
        st.error(f"The run cannot be started ({error.strerror}).", icon=":material/error:")
        return
    show(folder.name)
    st.rerun()


def seeds_from(text: str) -> list[int]:
    """Read whole numbers with commas between them."""
    try:
        return [int(seed) for seed in text.split(",") if seed.strip()]
    except ValueError:
        raise AdaRankError(f"seeds is {text!r}; give whole numbers such as 0,1,2") from None


def launcher(choice: state.Choice, busy: bool) -> None:
    """Draw the form that starts a comparison."""
    st.subheader("Your own comparison", anchor=False)
    kept = {"persist_state": "session"}
    arms = st.multiselect(
        "Arms", list(ARMS), ["uniform", "adarank"], key="compare_arms", placeholder="none", **kept
    )
    for arm in arms:
        st.caption(f"**{arm}**: {ARMS[arm]}")
    first = choice.seed
    seeds = st.text_input(
        "Seeds",
        f"{first},{first + 1},{first + 2}",
        key=f"compare_seeds_{first}",
        help="Every arm is trained once with each. One seed decides nothing; five are better "
        "than three.",
        **kept,
    )
    left, right = st.columns(2)
    steps = left.number_input("Steps", 1, 100_000, 150, key="compare_steps", **kept)
    batch = right.number_input("Batch size", 1, 1024, 32, key="compare_batch", **kept)
    with st.expander("More"):
        trials = st.number_input(
            "Trials",
            2,
            200,
            8,
            key="compare_trials",
            help="Noisy models a module, for the arms whose ranks come from disagreement. More "
            "take longer and give surer ranks.",
            **kept,
        )
        own = st.file_uploader("One more arm: a ranks.json", type="json", key="compare_own")
    st.caption(
        f"On **{state.plain(task_label(choice.task))}** with **{state.plain(choice.model)}** at "
        f"average rank **{choice.average_rank}**, as the sidebar says."
    )
    if st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        disabled=busy,
        help="A comparison is under way; cancel it first." if busy else None,
        key="compare_start",
    ):
        path = None if own is None else state.save_upload(own.name, own.getvalue())
        try:
            names = [*arms, *([] if path is None else [str(path)])]
            numbers = seeds_from(seeds)
            check_arms(names, numbers)
            config = {
                "model": choice.model,
                "task": choice.task,
                "arms": names,
                "seeds": numbers,
                "average_rank": choice.average_rank,
                "trials": int(trials),
                "settings": {"steps": int(steps), "batch_size": int(batch)},
            }
            start(config)
        except AdaRankError as error:
            state.show_error(error, path)


# What a run shows --------------------------------------------------------------------------------


def details(run: jobs.Run) -> str:
    """Say in one line what a run was asked for."""
    config = run.config
    if not config:
        return ""
    seeds = ", ".join(map(str, config["seeds"]))
    return (
        f"{config['model']} on {task_label(config['task'])}, average rank "
        f"{config['average_rank']:g}, {config['settings']['steps']} steps of "
        f"{config['settings']['batch_size']} texts, seed{'s'[: len(config['seeds']) > 1]} {seeds}"
    )


def standing(shown: jobs.Run) -> None:
    """Draw how a run stands by now, and what can be done about it."""
    run = jobs.run_folder(shown.folder)
    if run.state != shown.state:
        st.rerun()  # the rest of the page has to hear of it, and polling may have to end
    if run.state in ALIVE:
        cancelling = (run.folder / "cancel").exists()
        at = progress.progress_of(run.config, run.events)
        now = "cancelling after the current step" if cancelling else at.now
        if at.seconds_left is not None and not cancelling:
            more = "at least" if at.at_least else "about"
            now += f" · {more} {progress.duration(at.seconds_left)} left"
        with st.container(horizontal=True, vertical_alignment="bottom"):
            st.progress(at.share, text=state.plain(now), width="stretch")
            st.button(
                "Cancel",
                key="compare_cancel",
                on_click=jobs.cancel,
                args=(run.folder,),
                disabled=cancelling,
            )
        return
    if run.state == "finished":
        return
    words = {
        "cancelled": "Cancelled; what had finished is kept.",
        "interrupted": "The run's process ended without a word; what had finished is kept.",
        "failed": run.message,
    }[run.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.state == "failed":
            st.error(state.plain(words), icon=":material/error:", width="stretch")
        else:
            st.info(words, icon=":material/info:", width="stretch")
        label = "Try again" if run.state == "failed" else "Go on"
        about = "What has finished is not run again."
        if run.config and st.button(label, key="compare_go_on", help=about):
            start(run.config, run.folder)


def legend(run: jobs.Run) -> None:
    """Say of every arm what it controls for, how large it is and what its ranks cost."""
    if not run.config:
        return
    results = progress.finished_results(run.events)
    parameters = progress.planned(run.events)
    with st.container(border=True, gap="xsmall"):
        for arm in run.config["arms"]:
            facts = [ARMS.get(arm, "ranks from a file")]
            if arm in parameters:
                facts.append(f"{parameters[arm]:,} LoRA parameters")
            if arm in results and results[arm]["allocation_seconds"] >= 0.5:
                facts.append(f"{results[arm]['allocation_seconds']:.0f} s for its ranks")
            name = state.plain(progress.arm_label(arm))
            st.caption(f"**{name}** · {state.plain(' · '.join(facts))}")


def chart(shown: jobs.Run) -> None:
    """Draw the curves of all arms as they are by now, with a switch and their numbers."""
    run = jobs.run_folder(shown.folder)
    metric = st.segmented_control(
        "Curve",
        list(CURVE_NAMES),
        default="validation_loss",
        required=True,
        format_func=CURVE_NAMES.get,
        key="compare_curve",
        label_visibility="collapsed",
        persist_state="session",
    )
    table = progress.curve_table(run.events, metric)
    arms, steps = run.config.get("arms", ()), run.config.get("settings", {}).get("steps", 1)
    figure = curves.curves(table, metric, arms, steps)
    st.plotly_chart(
        figure,
        width="stretch",
        key=f"compare_curves_{metric}",
        alt=f"{CURVE_NAMES[metric]} over the steps, one colour an arm",
    )
    legend(run)
    with st.expander("Data"):
        st.dataframe(table, hide_index=True, width="stretch", height=240)
        st.download_button(
            f"{metric}.csv",
            table.to_csv(index=False),
            f"{metric}.csv",
            "text/csv",
            on_click="ignore",
            key="compare_curves_csv",
        )


def command(run: jobs.Run) -> str:
    """Return the shell command of a run; the stored example's is put together from its config."""
    try:
        words = json.loads((run.folder / "command.json").read_text(encoding="utf-8"))["command"]
    except (OSError, ValueError, LookupError):
        words = ["python", "-m", "adarank_core", *(arguments(run.config) if run.config else ())]
    return shlex.join(words)


# The page ----------------------------------------------------------------------------------------


def draw() -> None:
    """Draw the whole page."""
    choice = state.sidebar()
    opened = shown_run()
    run = opened or state.example_run()
    try:
        verdict = read_verdict(run)
    except AdaRankError as error:
        state.show_error(error)
        verdict = None
    st.title(headline(run, verdict), anchor=False)
    st.markdown(
        "Every arm is LoRA with as many parameters, on the same texts in the same order; only "
        "the ranks differ. Thin lines are seeds, thick lines their mean."
    )
    state.badge("stored example" if opened is None else "your run", details(run))
    choose_run(opened)
    poll = st.fragment(run_every=1 if run.state in ALIVE else None)
    poll(standing)(run)
    picture, form = st.columns([2, 1], gap="large")
    with picture:
        poll(chart)(run)
    with form:
        launcher(choice, busy=run.state in ALIVE)
    if verdict is not None:
        if draw_verdict(run, verdict, more=opened is not None):
            known = run.config["seeds"]
            more = [seed for seed in range(len(known) + MORE_SEEDS) if seed not in known]
            start({**run.config, "seeds": [*known, *more[:MORE_SEEDS]]}, run.folder)
    elif run.state not in ALIVE and (done := progress.finished_results(run.events)):
        st.subheader("What had finished", anchor=False)
        draw_results(done)
    with st.expander("Command"):
        st.code(command(run), language="bash", wrap_lines=True)
    st.page_link("pages/learn.py", label="Next: why this works", icon=":material/arrow_forward:")


draw()
