"""The form that starts a study, and the command line that it stands for."""

import streamlit as st

from adarank_core.comparison.inputs import model_path
from adarank_core.errors import AdaRankError
from adarank_core.lab.studies import study_named
from adarank_core.lab.study import Study, StudyRequest
from pages.parts.compare.outcome import task_label
from pages.parts.shared import glossary, state
from pages.parts.shared.link import LEAST_SETTING, MOST_SETTING, linked

__all__ = ["launcher", "list_from", "request_of"]


def request_of(config: dict) -> StudyRequest:
    """Return what a run of a study was asked for, to be asked for again.

    Parameters
    ----------
    config : dict
        As a run keeps it.

    Raises
    ------
    AdaRankError
        If the study, or a setting of it, is not known to this version.

    Examples
    --------
    >>> request = StudyRequest(study_named("reset"), seed=3, settings={"trials": 5})
    >>> request_of(request.config()) == request
    True
    """
    about = {
        key: config[key] for key in ("model", "task", "seed", "device", "dtype") if key in config
    }
    own = config.get("study_settings", {})
    return StudyRequest(study_named(config.get("study", "")), **about, settings=own)


def list_from(text: str, like: list) -> list:
    """Read what stands between commas, as the kind that the default's entries are of.

    What is not of that kind stays a word, for the study to refuse.

    Examples
    --------
    >>> list_from("1, 2", [4, 8]), list_from("1e-3, x", [0.1]), list_from("snip, plop", ["fisher"])
    ([1, 2], [0.001, 'x'], ['snip', 'plop'])
    """
    kind, found = type(like[0]), []
    for word in (word.strip() for word in text.split(",")):
        try:
            found.append(kind(word))
        except ValueError:
            found.append(word)
    return [] if found == [""] else found


def launcher(study: Study, choice: state.Choice) -> StudyRequest | None:
    """Draw the form that starts a study with the sidebar's model and task.

    Parameters
    ----------
    study : Study
    choice : Choice

    Returns
    -------
    StudyRequest or None
        What was just asked for.
    """
    st.header("Do it yourself", anchor=False)
    with st.expander("Settings"):
        settings = {name: _setting(study, name) for name in study.defaults}
    st.caption(
        f"On **{state.plain(task_label(choice.task))}** with **{state.plain(choice.model)}** and "
        f"seed **{choice.seed}**, as the sidebar says."
    )
    st.caption(
        "With the settings as they are and the embedded model it takes up to about two minutes of "
        "two cores. It can be stopped, and gone on with, at any time."
    )
    if not st.button(
        "Start",
        type="primary",
        icon=":material/play_arrow:",
        width="stretch",
        help="Where another run is at work, this one waits for its turn.",
        key="lab_start",
    ):
        return None
    try:
        model = model_path(choice.model)  # the run has another working folder
        return StudyRequest(study, model, choice.task, choice.seed, settings=settings)
    except AdaRankError as error:
        state.show_error(error)
        return None


def _setting(study: Study, name: str):
    """Draw one of the study's own settings, as its default is; return its value."""
    default, label = study.defaults[name], name.replace("_", " ").capitalize()
    kept = linked(f"{study.name}.{name}") | {"help": glossary.explained_in(label)}
    if isinstance(default, list):
        return list_from(st.text_input(label, **kept), default)
    if isinstance(default, str):
        return st.text_input(label, **kept)
    if isinstance(default, int):
        return int(st.number_input(label, 1, int(MOST_SETTING), **kept))
    return float(st.number_input(label, LEAST_SETTING, MOST_SETTING, format="%g", **kept))
