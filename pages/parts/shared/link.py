"""What a link holds: one table of all choices that shape what is seen, on any page.

The address says what differs from the defaults, on every page and for all pages, so that a link
gives the same numbers in another browser. Never in it are a sentence, a file or a filter's text.

A new control joins by a line in `LINK`, and by `linked` in place of its key and its default.
"""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from adarank_core.comparison.arms import ARMS
from adarank_core.comparison.verdicts import METRICS
from adarank_core.data.tasks import task_names
from adarank_core.errors import quoted
from adarank_core.lab.studies import STUDIES
from adarank_core.limits import check_model_name, tasks
from adarank_core.ranks.plans import ALPHA_POLICIES
from adarank_core.training.settings import Settings
from pages.parts.shared.own_words import SETTINGS, own_words

__all__ = [
    "ARRIVED",
    "LEAST_SETTING",
    "LINK",
    "MOST_SETTING",
    "OWN_FILE",
    "SOURCES",
    "Linked",
    "adopt",
    "choose",
    "keep",
    "linked",
    "named",
    "number",
    "offered_tasks",
    "one_of",
    "query",
    "several",
    "whole",
    "words",
]

SOURCES = ("generic", "task", "sentence")
OWN_FILE = "own file"
VIEWS = {"grid": "Layers × families", "depth": "Profile over depth"}
SCALES = {"all": "one for all", "family": "each family's own"}
MARKED = {"large": "where large", "all": "everywhere"}
RATES = {"one": "one for all", "grid": "best of a grid", "growing": "growing grid"}
CURVES = ("validation_loss", "validation_accuracy", "train_loss")
GRID = "1e-3, 5e-3, 2e-2"
LARGEST_SEED = 2**31 - 1
LEAST_SETTING, MOST_SETTING = 1e-9, 1e9  # of a study's numbers, which must be above 0
FOLDER = r"[\w-][\w.-]{0,99}"
TWO_VALUES = "bert.encoder.layer.{}.attention.self.value"  # of the embedded model
MEMORY = "link_memory"  # what was chosen last, also where the page in sight does not draw it
PAGE = "link_page"
ARRIVED = "link_arrived"  # a page was come to; it may take this away when it has heard of it


# How a value is read -----------------------------------------------------------------------------


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from low to high; it raises `ValueError` for all else.

    Examples
    --------
    >>> whole(0, 3)("3")
    3
    >>> whole(0, 3)("4")
    Traceback (most recent call last):
    ...
    ValueError: 4
    """
    return lambda text: _within(int(text), low, high)


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of numbers from low to high, which infinity and NaN never are.

    Examples
    --------
    >>> number(0.0, 3.0)("2.5")
    2.5
    """
    return lambda text: _within(float(text), low, high)


def _within(value, low, high):
    if not low <= value <= high:
        raise ValueError(value)
    return value


def one_of(choices: Collection[str]) -> Callable[[str], str]:
    """Return a reader of one of these words.

    Examples
    --------
    >>> one_of(["rank", "layer"])("rank")
    'rank'
    """

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def several(choices: Collection[str]) -> Callable[[str], list[str]]:
    """Return a reader of some of these words, with commas between them and none twice.

    Examples
    --------
    >>> several(["uniform", "adarank"])("adarank,uniform")
    ['adarank', 'uniform']
    """

    def read(text: str) -> list[str]:
        found = [one_of(choices)(word) for word in text.split(",") if word]
        if len(set(found)) < len(found):
            raise ValueError(text)
        return found

    return read


def words(pattern: str) -> Callable[[str], str]:
    """Return a reader of what a regular expression matches whole.

    Examples
    --------
    >>> words("[0-9,]{1,9}")("0,1")
    '0,1'
    """
    whole_pattern = re.compile(pattern, re.ASCII)

    def read(text: str) -> str:
        if whole_pattern.fullmatch(text) is None:
            raise ValueError(text)
        return text

    return read


def _model(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 500:
        raise ValueError(text)
    check_model_name(text)
    return text


def _task(text: str) -> str:
    return one_of([*offered_tasks(), OWN_FILE])(text)


def offered_tasks() -> tuple[str, ...]:
    """Return the named tasks that can be chosen here.

    Examples
    --------
    >>> offered_tasks() == task_names()
    True
    """
    offered = tasks(task_names())
    return task_names() if offered is None else offered


# The table ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linked:
    """One choice that is in the link.

    Parameters
    ----------
    read : callable
        From the link's text to the value; raises `ValueError` where no control can have it.
    default : object
        The value that is left out of the link; None too is always left out.
    key : str, optional
        Of the control in the session; its name in the link if empty.
    labels : mapping of str to object, optional
        From the link's words to the control's values, where these are other ones.
    """

    read: Callable[[str], Any]
    default: Any = None
    key: str = ""
    labels: Mapping[str, Any] | None = None

    def to_text(self, value) -> str:
        """Return a value as the link has it."""
        if self.labels:
            return {label: word for word, label in self.labels.items()}.get(value, "")
        if isinstance(value, (list, tuple)):
            return ",".join(value)
        return f"{value:g}" if isinstance(value, float) else str(value)


def named(labels: Mapping[str, Any], key: str = "") -> Linked:
    """Return a choice whose link says a word and whose control has a value; the first is usual.

    Examples
    --------
    >>> view = named({"grid": "Layers × families", "depth": "Profile over depth"})
    >>> view.read("depth"), view.to_text("Profile over depth")
    ('Profile over depth', 'depth')
    """
    usual = next(iter(labels.values()))
    return Linked(lambda text: labels[one_of(labels)(text)], usual, key, labels)


def _first_of(choices: Collection[str], key: str = "") -> Linked:
    return Linked(one_of(choices), next(iter(choices)), key)


def _setting(default) -> Linked:
    """Return a study's own setting; a list is what its control has, words with commas between."""
    if isinstance(default, int):
        return Linked(whole(1, int(MOST_SETTING)), default)
    if isinstance(default, float):
        return Linked(number(LEAST_SETTING, MOST_SETTING), default)
    text = default if isinstance(default, str) else ", ".join(map(str, default))
    return Linked(words(r"[\w., +-]{1,200}"), text)


#: By its name in the link, every choice of every page.
LINK = {
    # the sidebar's, on all pages
    "model": Linked(_model, "embedded"),
    "text": _first_of(SOURCES),
    "task": Linked(_task, task_names()[0]),
    "seed": Linked(whole(0, LARGEST_SEED), 0),
    "rank": Linked(whole(1, 64), 8),
    "pictures": named({"png": "PNG", "svg": "SVG"}),
    # Explore
    "trials": Linked(whole(2, 200)),
    "view": named(VIEWS),
    "colour": _first_of(("linear", "log")),
    "scale": named(SCALES),
    "errors": named(MARKED),
    "against": _first_of(("nothing", *SOURCES)),
    "module": Linked(whole(0, 99_999)),  # its place among the scored ones
    # Ranks
    "budget": _first_of(("rank", "parameters", "adaptive")),
    "equal": _first_of(("parameters", "rank")),
    "share": _first_of(("none", "family")),
    "parameters": Linked(whole(1, 10**12)),
    "min": Linked(whole(0, 64), 1),
    "max": Linked(whole(1, 4096)),
    "temperature": Linked(number(0.0, 3.0), 1.0),
    "alpha": _first_of(ALPHA_POLICIES),
    "pins": Linked(words(r"(\d{1,5}:\d{1,5}(,(?=\d)|$)){1,2000}"), "", "pins_link"),
    "without": Linked(words(r"(\d{1,5}(,(?=\d)|$)){1,2000}"), "", "without_link"),
    "sort": _first_of(("layer", "rank")),
    "beside": named({"nothing": "nothing", "uniform": "uniform"}),
    # Compare
    "run": Linked(words(FOLDER), None, "compare_run"),
    "arms": Linked(several(ARMS), ["uniform", "adarank"], "compare_arms"),
    "seeds": Linked(words(r"[\d, -]{1,400}"), "", "compare_seeds"),
    "steps": Linked(whole(1, 100_000), 150, "compare_steps"),
    "batch": Linked(whole(1, 1024), 32, "compare_batch"),
    "rates": named(RATES, "compare_rate_how"),
    "rate": Linked(number(1e-6, 1.0), Settings.learning_rate, "compare_rate"),
    "grid": Linked(words(r"[\d.eE+, -]{1,200}"), GRID, "compare_rates"),
    "arm_trials": Linked(whole(2, 200), 8, "compare_trials"),
    "arm_alpha": _first_of(ALPHA_POLICIES, "compare_alpha"),
    "metric": _first_of(METRICS, "compare_primary"),
    "smallest": Linked(number(0.0, 100.0), 0.0, "compare_smallest"),
    "side_by_side": Linked(whole(1, 1024), 1, "compare_side_by_side"),
    "curve": _first_of(CURVES, "compare_curve"),
    "smoothing": Linked(number(0.0, 0.95), 0.6, "compare_smoothing"),
    "cost": _first_of(("seconds", "parameters"), "compare_cost"),
    "secondary": Linked(one_of(METRICS), None, "compare_metric"),
    # Lab
    "study": _first_of(STUDIES),
    "study_run": Linked(words(FOLDER)),
    **{
        f"{study.name}.{name}": _setting(default)
        for study in STUDIES.values()
        for name, default in study.defaults.items()
    },
    # Learn
    "step": Linked(words(r"\w[\w -]{0,40}"), "Rank"),
    "toy_rank": Linked(whole(1, 4096), 8, "lesson_rank"),
    "toy_one": Linked(words(r"[\w.]{1,100}"), TWO_VALUES.format(0), "lesson_one"),
    "toy_another": Linked(words(r"[\w.]{1,100}"), TWO_VALUES.format(5), "lesson_another"),
    "toy_pairs": Linked(whole(2, 1000), 10, "lesson_pairs"),
    "toy_across": Linked(one_of(SOURCES), "generic", "lesson_across"),
    "toy_upwards": Linked(one_of(SOURCES), "task", "lesson_upwards"),
    "toy_equal": _first_of(("rank", "parameters"), "lesson_equal"),
    "toy_alpha": _first_of(ALPHA_POLICIES, "lesson_alpha"),
    "toy_seeds": Linked(whole(1, 1000), 5, "lesson_seeds"),
    "toy_guess": Linked(whole(0, 9), None, "lesson_prediction"),
    "toy_reset": named({"no": False, "yes": True}, "lesson_reset"),
    # Runs
    "group": Linked(one_of(SETTINGS), None, "runs_group"),
    "only": Linked(own_words, None, "runs_only"),
    "picked": Linked(words(rf"{FOLDER}(,{FOLDER}){{0,20}}"), "", "runs_picked"),
}


# The session and the address ---------------------------------------------------------------------


def linked(name: str, choices: Collection | None = None) -> dict:
    """Return the keyword arguments of a control that is in the link; it needs no default.

    Parameters
    ----------
    name : str
        In `LINK`. `adopt` or `keep` has been called before, as `state.open_page` does.
    choices : collection, optional
        What can be chosen just now: where that is something else, the default is taken, or the
        first of them.
    """
    if choices is not None and st.session_state[_key(name)] not in choices:
        usual = LINK[name].default
        choose(name, usual if usual in choices else next(iter(choices)))
    return {"key": _key(name), "persist_state": "session"}


def adopt() -> str:
    """Begin a run of a page: take choices over from the address, or put them into it.

    The address comes first where the session begins, and where the browser went back or forward.
    From then on the session comes first: a click may come before the browser shows the address of
    the one before it, and a page's link in the side bar has no choices in it.

    Returns
    -------
    str
        What was in the address and cannot be chosen, in a sentence; mostly empty.
    """
    begins, refused = MEMORY not in st.session_state, []
    context = get_script_run_ctx()
    back, page = (
        bool(context and context.is_history_navigation),
        context and context.page_script_hash,
    )
    if st.session_state.get(PAGE) != page:
        st.session_state[PAGE], st.session_state[ARRIVED] = page, True
        for key in map(_key, LINK):  # another page's control would begin with its own default
            if key in st.session_state:
                st.session_state[key] = st.session_state[key]
    # Without any choices it is a page's own address, as the side bar's links leave it behind.
    if begins or (back and set(LINK) & set(st.query_params)):
        for name, one in LINK.items():
            given = st.query_params.get_all(name)
            if not given and begins and _key(name) in st.session_state:
                continue
            try:
                value = _read(one, given)
            except ValueError:
                refused.append(f"{name}={quoted(', '.join(given), 40)}")
                if not begins:
                    continue  # what was chosen stays
                value = one.default
            st.session_state[_key(name)] = value
    keep()
    if not refused:
        return ""
    stays = "what was chosen stays" if back else "the default is used"
    return f"{' and '.join(refused)} in the address cannot be chosen; {stays}."


def _read(one: Linked, given: list[str]):
    if not given:
        return one.default
    if len(given) > 1:
        raise ValueError(given)
    return one.read(given[0])


def choose(name: str, value) -> None:
    """Set a choice by program, before its control is drawn, and put it into the address."""
    st.session_state[_key(name)] = value
    keep()


def keep() -> None:
    """Remember all choices, also those of pages that are not in sight, and show them in the link.

    A fragment that has controls calls it first: `state.open_page` is not run again then.
    """
    memory = st.session_state.setdefault(MEMORY, {})
    for name, one in LINK.items():
        if _key(name) in st.session_state:
            memory[name] = st.session_state[_key(name)]
        else:  # Streamlit forgets a control that was not drawn
            st.session_state[_key(name)] = memory.get(name, one.default)
    now = {name: st.query_params.get_all(name) for name in st.query_params}
    others = {name: values for name, values in now.items() if name not in LINK}
    wanted = {**others, **{name: [text] for name, text in query().items()}}
    if wanted != now:
        st.query_params.from_dict(wanted)


def query() -> dict[str, str]:
    """Return the choices that differ from the defaults, by name, as a link has them.

    One that could not be read again, such as a path that somebody typed, is left out.
    """
    memory, found = st.session_state.get(MEMORY, {}), {}
    for name, one in LINK.items():
        value = memory.get(name, one.default)
        if value is not None and value != one.default and (text := one.to_text(value)):
            with suppress(ValueError):
                one.read(text)
                found[name] = text
    return found


def _key(name: str) -> str:
    return LINK[name].key or name
