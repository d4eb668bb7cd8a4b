"""Lab: studies of the method itself, each a question, a picture and a sentence of answer.

A study that is run is a process of its own; this page starts it and reads its folder. The study
and the run are in the link, so that the page is the same after a reload and in another tab.
"""

import shlex
from dataclasses import replace

import streamlit as st

from adarank_core.errors import AdaRankError
from adarank_core.lab.studies import STUDIES
from adarank_core.lab.study import Study, StudyRequest, StudyResult
from adarank_core.runs import jobs, visitors
from adarank_core.runs.jobs import ALIVE
from adarank_core.runs.progress import study_progress
from adarank_core.server_paths import without_paths
from pages.parts.compare.event_follower import follow
from pages.parts.compare.outcome import model_label, task_label
from pages.parts.compare.run_status import draw_status, run_label
from pages.parts.lab.launcher import launcher, request_of
from pages.parts.lab.panel import draw_panel, drawn_result, read_result, stored
from pages.parts.shared import glossary, link, state, visitor
from pages.parts.shared.link import linked
from pages.parts.shared.sidebar import sidebar

RECENT = 30
POLL = 2  # seconds


# Which study and which run are shown -------------------------------------------------------------


def lab_runs() -> list[str]:
    """Return the names of the folders of all runs of studies, the newest first."""
    return [
        path.name for path in jobs.run_folders(visitor.runs_home()) if path.name.endswith("-lab")
    ]


def study_of(name: str) -> str:
    """Return the study that a run is of; empty where that is not known."""
    folder = visitor.runs_home() / name
    # The configuration comes some seconds after the command.
    return jobs.run_folder(folder).config.get("study") or "".join(jobs.start_command(folder)[4:5])


def show(study: str, run: str | None = None) -> None:
    """Put a study, and a run of it, into the link."""
    for name, value in (("study", study), ("study_run", run)):
        if st.session_state[name] != value:  # else its control may have been drawn already
            link.choose(name, value)


def shown(names: list[str]) -> tuple[Study, jobs.Run | None]:
    """Return the study and the run that the link names; None is the example.

    A run is looked up among those that are there, so that its name can never be a path.
    """
    study, name = st.session_state.study, st.session_state.study_run
    if name and name not in names:
        st.warning("That run is no study on this machine; here is the stored example.")
        name = None
    if name:
        study = study_of(name)
        if study not in STUDIES:
            st.warning("That run's study is not known; here is the stored example of another.")
            name = None
    if study not in STUDIES:
        study = link.LINK["study"].default
    show(study, name or None)
    return STUDIES[study], jobs.run_folder(visitor.runs_home() / name) if name else None


def choose_study() -> None:
    """Draw the list of all studies by their questions."""
    st.radio(
        "Study",
        list(STUDIES),
        format_func=lambda name: STUDIES[name].question,
        on_change=lambda: show(st.session_state.study),
        **linked("study"),
    )


def choose_run(study: Study, run: jobs.Run | None, names: list[str], has_example: bool) -> None:
    """Draw the box that opens an earlier run of the study."""
    if run is None and not names:
        return
    example = "Stored example" if has_example else "None of them"
    runs = [jobs.run_folder(visitor.runs_home() / name) for name in names]
    labels = {"": example, **{one.folder.name: run_label(one) for one in runs}}
    if run is not None:
        labels.setdefault(run.folder.name, run_label(run))
    key = f"lab_open_{study.name}"
    st.session_state[key] = run.folder.name if run else ""
    st.selectbox(
        "Show",
        list(labels),
        key=key,
        format_func=labels.get,
        on_change=lambda: show(study.name, st.session_state[key] or None),
    )


# Start, go on ------------------------------------------------------------------------------------


def start(request: StudyRequest, run: jobs.Run | None = None) -> None:
    """Start a study, or go on with a run of it, and show it."""
    words = [*request.arguments(), "--queue", *([] if run is None else ["--resume"])]
    folder = None if run is None else run.folder
    try:
        folder = visitors.start(words, visitor.runs_home(), [request.task], folder)
    except AdaRankError as error:
        state.show_error(error)
        return
    except OSError as error:
        st.error(f"The run cannot be started ({error.strerror}).", icon=":material/error:")
        return
    show(request.study.name, folder.name)
    st.rerun()


# What is shown -----------------------------------------------------------------------------------


def draw_run(study: Study, before: jobs.Run, alive: list[jobs.Run]) -> None:
    """Draw how a run stands by now, and all that it has measured."""
    link.keep()
    run, follower = jobs.run_folder(before.folder), follow(before.folder)
    if (run.state, run.place) != (before.state, before.place):
        st.rerun()  # the rest of the page has to hear of it, and polling may have to end
    at = study_progress(follower.events)
    if draw_status(run, at, alive, lambda name: show(study.name, name)):
        start(request_of(run.config), run)
    for event in follower.events:
        if event["event"] == "notice":
            st.caption(state.plain(event.get("message", "")))

    def drawing() -> tuple:
        try:
            result = read_result(run.folder / "study.json")
        except AdaRankError:  # the run's state tells it
            result = None
        return drawn_result(study.name, result)

    figures, laid_out = follower.cached_drawing((study.name, run.state), drawing)
    draw_panel(study.name, figures, laid_out)
    if not laid_out and run.state not in ALIVE:
        st.caption("Nothing was measured.")
    elif not figures and run.state in ALIVE:
        st.caption("The picture comes with the first numbers that can be compared.")


def read_answer(run: jobs.Run) -> StudyResult | None:
    """Return a run's result; one that cannot be read counts as none."""
    try:
        return read_result(run.folder / "study.json")
    except AdaRankError:  # the run's state tells it
        return None


def settings_line(settings: dict) -> str:
    """Say in one line what a result was measured with."""
    own = {**settings, "model": model_label(str(settings.get("model", "")))}
    own["task"] = task_label(str(settings.get("task", "")))
    parts = []
    for name, value in own.items():
        words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        parts.append(f"{name.replace('_', ' ')} {words}")
    return " · ".join(parts)


def command(study: Study, run: jobs.Run | None) -> str:
    """Return the shell command of a run, or of the stored example, into a new folder."""
    try:
        request = StudyRequest(study) if run is None else request_of(run.config)
    except AdaRankError:  # not known yet, or of another version
        return ""
    # A file is called as it is where somebody has it.
    request = replace(request, task=task_label(request.task), model=without_paths(request.model))
    output = f"--output={study.name if run is None else run.folder.name}-again"
    return shlex.join(["python", "-m", "adarank_core", *request.arguments(), output])


def draw_result(study: Study, run: jobs.Run | None, result: StudyResult | None) -> None:
    """Draw the answer and the pictures of a run or of the stored example."""
    if result is not None and result.answer:
        terms = glossary.explained_in(f"{study.question} {result.answer} {result.details}")
        st.header(state.plain(result.answer), anchor=False, help=terms)
        if result.details:
            st.markdown(state.plain(result.details))
    if run is None and result is None:
        st.info("There is no stored example of this study yet: start it.", icon=":material/info:")
    elif run is None:
        state.badge("stored example", settings_line(result.settings))
        draw_panel(study.name, *drawn_result(study.name, result))
    else:
        state.badge("your run", settings_line(result.settings) if result else "")
        under_way = run.state in ALIVE
        alive = (
            [one for one in jobs.runs(visitor.runs_home()) if one.state in ALIVE]
            if under_way
            else []
        )
        st.fragment(draw_run, run_every=POLL if under_way else None)(study, run, alive)


def draw() -> None:
    """Draw the whole page."""
    state.open_page()
    choice = sidebar(("model", "task", "seed"))
    names = lab_runs()
    study, run = shown(names)
    st.title(state.plain(study.question), anchor=False)
    picture, form = st.columns([2, 1], gap="large")
    example = stored(study.name)
    with picture:
        draw_result(study, run, example if run is None else read_answer(run))
        if words := command(study, run):
            with st.expander("Command"):
                st.code(words, language="bash", wrap_lines=True)
    with form:
        choose_study()
        mine = [name for name in names[:RECENT] if study_of(name) == study.name]
        choose_run(study, run, mine, example is not None)
        request = launcher(study, choice)
        if request is not None:
            start(request)
    state.page_link("learn", "Next: why this works")


try:
    draw()
except AdaRankError as error:  # such as a home that cannot be made
    state.show_error(error)
