"""What a person has chosen, and what is being shown: shared by all pages.

The choice is in the URL (`pages.parts.shared.link`), except for the sentence, which stays in the
session.
"""

import hashlib
import re
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager  # no public name

from adarank_core.data.tables import KINDS
from adarank_core.data.tasks import load_task, task_names
from adarank_core.data.texts import generic_texts, sentence
from adarank_core.errors import AdaRankError, by_name, quoted
from adarank_core.files import read_json, write_whole
from adarank_core.limits import (
    ANY,
    check_limit,
    check_model_name,
    is_walled,
    limit,
    models,
)
from adarank_core.runs.jobs import Run, run_folder
from adarank_core.runs.visitors import UPLOADS, check_room
from adarank_core.scoring.scores import Scores
from adarank_core.server_paths import without_paths
from pages.parts.shared import cached, link, visitor
from pages.parts.shared.link import LARGEST_SEED, OWN_FILE, SOURCES, linked

__all__ = [
    "OWN_PLAN",
    "Asked",
    "Choice",
    "Shown",
    "badge",
    "current",
    "example_about",
    "example_run",
    "example_scores",
    "keep",
    "open_page",
    "origin",
    "page_link",
    "plain",
    "save_upload",
    "show_error",
    "sidebar",
]

EXAMPLE = Path(__file__).resolve().parents[3] / "assets" / "example"
#: Where the page Ranks leaves the path of a plan that is to be an arm on Compare.
OWN_PLAN = "compare_own_plan"
LARGEST_RANK = 64
MOST_UPLOADED = 500  # megabytes a session
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


def sidebar(budget_at=None, budget: bool = True) -> Choice:
    """Draw the sidebar and return what is chosen.

    Parameters
    ----------
    budget_at : container, optional
        Where the budget slider is drawn; in the sidebar if not given.
    budget : bool
        Whether it is drawn at all: not where the page asks for another budget.

    Returns
    -------
    Choice
    """
    # A teacher may have settled for a room what all its sessions use; see parts/learn/rooms.py.
    settled = {"disabled": "settings" in st.session_state.get("hidden_parts", ())}
    with st.sidebar:
        offered, may_be_typed = models(), _may_be_typed()
        listed = ["embedded"] if offered is None else [one for one in offered if one != ANY]
        local = "" if is_walled() else ", or a local folder,"
        typed = f" Or type a Hub id such as `bert-base-cased`{local} and press Enter."
        model = st.selectbox(
            "Model",
            listed,
            accept_new_options=may_be_typed,
            help="**embedded** is MiniLM-L6, which came with the app." + typed * may_be_typed,
            **linked("model", None if may_be_typed else listed),
            **settled,
        )
        try:
            check_model_name(model or "embedded")
        except AdaRankError as error:
            show_error(error)
            model = "embedded"
        source = st.segmented_control(
            "Text",
            SOURCES,
            required=True,
            help="What the modules are scored on: sixteen sentences of no task, sixteen training "
            "texts of a task, or one sentence of yours.",
            **linked("text"),
            **settled,
        )
        offered_tasks = [*link.offered_tasks(), OWN_FILE]
        task = st.selectbox(
            "Task",
            offered_tasks,
            help="Where task text comes from, and what Compare trains on. **docstrings** came "
            "with the app; the others are fetched from the Hugging Face Hub.",
            **linked("task", offered_tasks),
            **settled,
        )
        file_missing = False
        if task == OWN_FILE:
            path = _own_file()
            task, file_missing = path or task_names()[0], path is None
        seed = st.number_input(
            "Seed",
            0,
            LARGEST_SEED,
            help="Draws the noise, the head and the task's texts: the same seed gives the same "
            "numbers.",
            **linked("seed"),
            **settled,
        )
    average_rank = st.session_state.rank
    if budget:
        with budget_at or st.sidebar:
            average_rank = st.slider(
                "Budget: average rank",
                1,
                LARGEST_RANK,
                help="What uniform LoRA would give every module.",
                **linked("rank"),
            )
    with st.sidebar:
        st.segmented_control(
            "Save pictures as",
            ("PNG", "SVG"),
            required=True,
            help="What the camera over a picture saves: PNG for slides, SVG for papers.",
            **linked("pictures"),
        )
    written = st.session_state.get("sentence") or ""
    return Choice(
        model or "embedded",
        source or "generic",
        task,
        int(seed),
        average_rank,
        st.session_state.trials,
        written.strip() or example_about()["sentence"],
        file_missing,
    )


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
    if said := st.session_state.pop("refused", ""):
        st.caption(plain(said))


def page_link(page: str, label: str, icon: str = ":material/arrow_forward:") -> None:
    """Draw a link to another page that has all choices in it, also for another tab."""
    st.page_link(f"pages/{page}.py", label=label, icon=icon, query_params=link.query())


def _may_be_typed() -> bool:
    offered = models()
    return offered is None or ANY in offered


def _own_file() -> str | None:
    """Draw the uploader; return the path of the newest file that could be read, if there is one."""
    upload = st.file_uploader(
        "CSV, JSONL or Parquet with the columns text and label",
        type=[kind.removeprefix(".") for kind in KINDS],
        key="task_file",
        max_upload_size=_most_uploaded(),
    )
    if upload is not None and st.session_state.get("task_file_id") != upload.file_id:
        path = save_upload(upload.name, upload.getvalue())
        try:
            if path is not None:
                load_task(path)
        except AdaRankError as error:
            show_error(error, path)
            path = None
        if path is not None:
            st.session_state.task_file_id = upload.file_id
            st.session_state.task_path = str(path)
    path = st.session_state.get("task_path")
    if path is None:
        st.caption("No file is in use yet.")
        return None
    st.caption(f"In use: {plain(Path(path).name)}")
    return path


def _most_uploaded() -> int | None:
    most = limit("upload_mb")
    return None if most is None else max(1, int(most))


def save_upload(name: str, content: bytes) -> Path | None:
    """Keep an uploaded file in a temporary folder of its own, as long as the session lasts.

    A visitor's lies among his runs, until it is swept as they are.

    Parameters
    ----------
    name : str
        As the browser sent it; only harmless characters of it are kept.
    content : bytes

    Returns
    -------
    pathlib.Path or None
        Equal files of one session lie at the same path. None where it cannot be kept, on a full
        disk or beside too much else, which is said.

    Examples
    --------
    >>> save_upload("../my file.csv", b"text,label").name
    'my_file.csv'
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    try:
        check_limit("upload_mb", len(content) / 1e6)
        if is_walled():
            st.session_state.uploads = str(visitor.runs_home() / UPLOADS)
        elif "uploads" not in st.session_state:
            # It is removed when the session is forgotten, or the server ends.
            kept = tempfile.TemporaryDirectory(prefix="adarank-", ignore_cleanup_errors=True)
            st.session_state.uploads_folder, st.session_state.uploads = kept, kept.name
        uploads = Path(st.session_state.uploads)
        folder = uploads / hashlib.sha256(content).hexdigest()[:12]
        path = folder / (re.sub(r"[^\w.-]+", "_", last).lstrip(".")[-80:] or "file")
        if path.exists():  # a run may be reading it, and its folder tells its content
            return path
        size = sum(file.stat().st_size for file in uploads.rglob("*") if file.is_file())
        if is_walled():
            check_room(visitor.runs_home(), megabytes=len(content) / 1e6)
        elif size + len(content) > MOST_UPLOADED * 1e6:
            raise AdaRankError(
                f"{last!r} would make the uploads of this session more than {MOST_UPLOADED} MB; "
                "reload the page to begin anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        show_error(AdaRankError(f"{last!r} cannot be kept ({error.strerror}); make room"))
    except AdaRankError as error:
        show_error(error)
    else:
        return path
    return None


def example_scores(source: str) -> Scores:
    """Read the stored scores of ``"generic"``, ``"task"`` or ``"sentence"`` text."""
    return Scores.from_dict(read_json(EXAMPLE / f"scores-{source}.json"))


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
        st.caption(plain(detail), width="content")


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
    """Show an error's sentence as plain words.

    Parameters
    ----------
    error : AdaRankError
    path : pathlib.Path, optional
        An uploaded file: it is called by its name, not by where it is kept.
    """
    st.error(plain(str(error) if path is None else by_name(error, path)))


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
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~$:-])", r"\\\1", text)
