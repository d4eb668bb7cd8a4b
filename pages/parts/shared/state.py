"""What a person has chosen, and what is being shown: shared by all pages.

The choice is in the URL (`pages.parts.shared.link`), except for the sentence, which stays in the
session.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager  # no public name

from adarank_core.data.texts import generic_texts, sentence
from adarank_core.errors import AdaRankError, by_name, quoted
from adarank_core.files import read_json
from adarank_core.runs.jobs import Run, run_folder
from adarank_core.scoring.scores import Scores
from adarank_core.server_paths import without_paths
from pages.parts.shared import cached, glossary, link, visitor
from pages.parts.shared.link import OWN_FILE

__all__ = [
    "OWN_PLAN",
    "Asked",
    "Choice",
    "Shown",
    "badge",
    "capitalised",
    "current",
    "draw_again",
    "example_about",
    "example_run",
    "example_scores",
    "keep",
    "open_page",
    "origin",
    "page_link",
    "plain",
    "show_error",
]

EXAMPLE = Path(__file__).resolve().parents[3] / "assets" / "example"
#: Where the page Ranks leaves the path of a plan that is to be an arm on Compare.
OWN_PLAN = "compare_own_plan"
LINKED = re.compile(r"www(?=\.)|https?(?=:)|[\w.+-](?=@)", re.IGNORECASE)
COLOURS = {"stored example": "gray", "computed now": "green", "from the cache": "blue"}


@dataclass(frozen=True)
class Choice:
    """What the sidebar says.

    Parameters
    ----------
    model : str
        ``"embedded"``, a Hub id or a local folder.
    source : {"generic", "task", "sentence"}
        Which text modules are scored on.
    task : str
        A task's name or the path of an uploaded file; never empty.
    seed : int
    average_rank : int
    trials : int, optional
        Of Explore; None leaves them to the program.
    sentence : str
        The one that was entered last, else the stored one.
    file_missing : bool
        An own file is the task, but none was read yet; ``task`` is the embedded one until then.
    """

    model: str
    source: str
    task: str
    seed: int
    average_rank: int
    trials: int | None = None
    sentence: str = ""
    file_missing: bool = False

    @property
    def asked(self) -> "Asked":
        """What scores are wanted of."""
        text = {"task": OWN_FILE if self.file_missing else self.task, "sentence": self.sentence}
        return Asked(self.model, self.source, text.get(self.source, ""), self.trials, self.seed)


@dataclass(frozen=True)
class Asked:
    """All that scores depend on, as it was chosen: two equal ones have equal scores.

    ``text`` is the sentence or the task, and empty for generic text.
    """

    model: str
    source: str
    text: str
    trials: int | None
    seed: int


@dataclass(frozen=True)
class Shown:
    """Scores on screen, and how they came there.

    Parameters
    ----------
    scores : Scores
    kind : str
        What `badge` says: ``"stored example"``, ``"computed now"``, ``"from the cache"`` or
        ``"your file"``.
    source : {"generic", "task", "sentence"}
    text : str
        The sentence or the task, so that the scores can be computed again; empty for a file.
    asked : Asked, optional
        What they answer.
    stale : bool
        Something else is asked for by now.
    """

    scores: Scores
    kind: str
    source: str
    text: str = ""
    asked: Asked | None = None
    stale: bool = False


def open_page(**only: Collection[str]) -> None:
    """Begin a page; every page calls it first.

    What no control can have is taken out of the address, and a line says so.

    Parameters
    ----------
    only : collection of str
        By a name in `link.LINK`: what this page alone knows can be chosen.
    """
    first, st.session_state.begun = "begun" not in st.session_state, True
    said = link.adopt()
    for name, choices in only.items():
        if (value := st.session_state[name]) not in choices:
            link.choose(name, next(iter(choices)))
            if value != link.LINK[name].default:
                said = f"{name}={quoted(value, 40)} in the address cannot be chosen; "
                said += "the default is used."
    if said:
        st.session_state.refused = said
    if first:
        st.session_state.fresh = True
        if PagesManager.uses_pages_directory:
            # A link into a fresh server: Streamlit found the folder called pages and ran the page
            # by itself. From the next run on it goes through app.py, as it always does after that.
            PagesManager.uses_pages_directory = False
            st.rerun()
    st.session_state.said = st.session_state.pop("refused", "")
    if said := st.session_state.said:
        st.caption(plain(said))


def draw_again() -> None:
    """Run the page once more, with what it said at its top."""
    st.session_state.refused = st.session_state.said
    st.rerun()


def page_link(
    page: str,
    label: str,
    icon: str = ":material/arrow_forward:",
    more: Mapping[str, str] | None = None,
) -> None:
    """Draw a link to a page that has all choices in it, also for another tab.

    Parameters
    ----------
    page : str
    label, icon : str
    more : mapping of str to str, optional
        What the link has beside choices.
    """
    query = {**link.query(), **(more or {})}
    st.page_link(f"pages/{page}.py", label=label, icon=icon, query_params=query)


@cache
def example_scores(source: str) -> Scores:
    """Read the stored scores of ``"generic"``, ``"task"`` or ``"sentence"`` text."""
    return Scores.from_dict(read_json(EXAMPLE / f"scores-{source}.json"))


@cache
def example_about() -> dict:
    """Read what the stored example was made with: ``sentence``, ``task`` and ``trials``."""
    return read_json(EXAMPLE / "about.json")


def example_run() -> Run:
    """Read the stored comparison as a finished run."""
    return run_folder(EXAMPLE / "comparison")


def current(choice: Choice) -> Shown:
    """Return the scores that are asked for, if they are known; else older ones, marked as stale.

    Known are those that this session came to last, those that were computed on this machine and
    the stored example. Older ones are of the same kind of text.
    """
    kept = st.session_state.get("scores", {}).get(choice.source)
    if kept is not None and kept.asked in (None, choice.asked):
        return kept
    scores = _known(choice)
    if scores is not None:
        text = choice.asked.text
        keep(Shown(scores, "from the cache", choice.source, text, choice.asked))
        return st.session_state.scores[choice.source]
    about, scores = example_about(), example_scores(choice.source)
    text = about.get(choice.source, "")
    asked = Asked(scores.model, choice.source, text, None, scores.seed)
    example = Shown(scores, "stored example", choice.source, text, asked)
    if choice.asked in (asked, replace(asked, trials=about["trials"])):
        return example
    return replace(kept or example, stale=True)


def _known(choice: Choice) -> Scores | None:
    """Return scores that were computed before, where that can be told at once."""
    labels = 2
    try:
        if choice.source == "task":
            if choice.file_missing or not cached.is_loaded(choice.task):
                return None
            task = cached.task(choice.task)
            labels, texts = len(task.label_names), task.sample_texts(16, seed=choice.seed)
        else:
            own = choice.source == "sentence"
            texts = sentence(choice.sentence) if own else generic_texts()
    except AdaRankError:
        return None
    owner = visitor.owner_of(choice.source, choice.asked.text)
    key = cached.scores_key(choice.model, labels, texts, choice.trials, choice.seed, owner)
    return cached.finished_scores(key)


def keep(shown: Shown) -> None:
    """Make these the current scores of their kind of text in this session."""
    st.session_state.setdefault("scores", {})[shown.source] = shown


def badge(kind: str, detail: str) -> None:
    """Tell where what is shown comes from.

    Parameters
    ----------
    kind : {"stored example", "computed now", "from the cache", "your file"}
    detail : str
        Model, text, trials and seed, for people.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(kind, color=COLOURS.get(kind, "violet"))
        st.caption(plain(detail), width="content", help=glossary.explained_in(detail))


def origin(shown: Shown, detail: str) -> None:
    """Tell where scores come from, and the sentence that they are of.

    Parameters
    ----------
    shown : Shown
    detail : str
        As `badge` takes it.
    """
    badge(shown.kind, detail)
    if shown.source == "sentence" and shown.text:
        st.markdown(f"“{plain(shown.text)}”")


def show_error(error: AdaRankError, path: Path | None = None) -> None:
    """Show an error's sentence as plain words, with a capital letter.

    Parameters
    ----------
    error : AdaRankError
    path : pathlib.Path, optional
        An uploaded file: it is called by its name, not by where it is kept.
    """
    st.error(plain(capitalised(str(error) if path is None else by_name(error, path))))


def capitalised(sentence: str) -> str:
    """Return an error's sentence as it begins on a page; on a command line another word is first.

    A name, such as that of a setting in a file, stays as it is.

    Examples
    --------
    >>> capitalised("seeds is '1,x'; give whole numbers such as 0,1,2")
    "Seeds is '1,x'; give whole numbers such as 0,1,2"
    >>> capitalised("lora_alpha is 'x'; it must be a number")
    "lora_alpha is 'x'; it must be a number"
    """
    first, _, _ = sentence.partition(" ")
    return first[0].upper() + sentence[1:] if first.isalpha() else sentence


def plain(text: str) -> str:
    r"""Escape Markdown, so that a name or a sentence shows as it was written.

    What a browser would be shown as a link, an address of the web or of mail, is broken up by a
    sign without width: no escape keeps Markdown from making one. A visitor is not told where on
    this machine a file lies.

    Examples
    --------
    >>> plain("my_model *new*")
    'my\\_model \\*new\\*'
    >>> plain("www.example.org")
    'www\u2060.example.org'
    """
    text = LINKED.sub(lambda found: found[0] + "\u2060", without_paths(text))
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$:&-])", r"\\\1", text)
