"""What a person has chosen, and what is being shown: shared by all pages.

The choice is in the URL, except for the sentence, which stays in the session.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.pages_manager import PagesManager  # no public name

from adarank_core.data.tables import KINDS
from adarank_core.data.tasks import load_task, task_names
from adarank_core.errors import AdaRankError, by_name, quoted
from adarank_core.files import read_json, write_whole
from adarank_core.limits import (
    ANY,
    check_limit,
    check_model_name,
    is_walled,
    limit,
    models,
    tasks,
)
from adarank_core.runs.jobs import Run, run_folder
from adarank_core.runs.visitors import UPLOADS, check_room
from adarank_core.scoring.scores import Scores
from adarank_core.server_paths import without_paths
from pages.parts.shared import visitor

__all__ = [
    "OWN_PLAN",
    "Choice",
    "Shown",
    "badge",
    "between",
    "current",
    "example_about",
    "example_run",
    "example_scores",
    "keep",
    "one_of",
    "open_page",
    "plain",
    "save_upload",
    "show_error",
    "sidebar",
]

EXAMPLE = Path(__file__).resolve().parents[3] / "assets" / "example"
SOURCES = ("generic", "task", "sentence")
OWN_FILE = "own file"
#: Where the page Ranks leaves the path of a plan that is to be an arm on Compare.
OWN_PLAN = "compare_own_plan"
LARGEST_RANK = 64
LARGEST_SEED = 2**31 - 1
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
    """

    model: str
    source: str
    task: str
    seed: int
    average_rank: int


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
    """

    scores: Scores
    kind: str
    source: str
    text: str = ""


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
    bound = {"bind": "query-params", "persist_state": "session"}
    # A teacher may have settled for a room what all its sessions use; see parts/learn/rooms.py.
    settled = {**bound, "disabled": "settings" in st.session_state.get("hidden_parts", ())}
    with st.sidebar:
        offered = models()
        local = "" if is_walled() else ", or a local folder,"
        typed = f" Or type a Hub id such as `bert-base-cased`{local} and press Enter."
        model = st.selectbox(
            "Model",
            ["embedded"] if offered is None else [one for one in offered if one != ANY],
            key="model",
            accept_new_options=_may_be_typed(),
            help="**embedded** is MiniLM-L6, which came with the app." + typed * _may_be_typed(),
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
            key="text",
            default="generic",
            required=True,
            help="What the modules are scored on: sixteen sentences of no task, sixteen training "
            "texts of a task, or one sentence of yours.",
            **settled,
        )
        task = st.selectbox(
            "Task",
            [*_offered_tasks(), OWN_FILE],
            key="task",
            help="Where task text comes from, and what Compare trains on. **docstrings** came "
            "with the app; the others are fetched from the Hugging Face Hub.",
            **settled,
        )
        if task == OWN_FILE:
            task = _own_file()
        seed = st.number_input(
            "Seed",
            0,
            LARGEST_SEED,
            0,
            key="seed",
            help="Draws the noise, the head and the task's texts: the same seed gives the same "
            "numbers.",
            **settled,
        )
    if not budget:
        average_rank = int(st.session_state.get("rank") or st.query_params.get("rank") or 8)
        return Choice(model or "embedded", source or "generic", task, int(seed), average_rank)
    with budget_at or st.sidebar:
        average_rank = st.slider(
            "Budget: average rank",
            1,
            LARGEST_RANK,
            8,
            key="rank",
            help="What uniform LoRA would give every module.",
            **bound,
        )
    return Choice(model or "embedded", source or "generic", task, int(seed), average_rank)


def open_page(**own: Callable[[str], bool]) -> None:
    """Begin a page; every page calls it first.

    What no widget can have is taken out of the address, and a line says so: Streamlit would end
    some of it in an error and pass over the rest without a word.

    Parameters
    ----------
    own : callable
        By the key of a widget that is in the address, beside the sidebar's: whether it can have a
        value; see `one_of` and `between`.
    """
    first, st.session_state.begun = "begun" not in st.session_state, True
    if first and PagesManager.uses_pages_directory:
        # A link into a fresh server: Streamlit found the folder called pages and ran the page by
        # itself. From the next run on it goes through app.py, as it always does after that.
        PagesManager.uses_pages_directory = False
        st.rerun()
    refused, found = st.session_state.setdefault("refused", {}), False
    for key, fits in {**_in_sidebar(), **own}.items():
        values = st.query_params.get_all(key)
        if not values or (len(values) == 1 and fits(values[0])):
            continue
        if key not in refused:
            used = "what was chosen stays" if key in st.session_state else "the default is used"
            given = f"{key}={quoted(', '.join(values), 40)}"
            refused[key], found = f"{given} in the address cannot be chosen; {used}.", True
            with suppress(StreamlitAPIException):  # a widget that was drawn before holds on to it
                del st.query_params[key]
        elif key in st.session_state:  # back to such an address by the browser's own button
            st.session_state[key] = st.session_state[key]  # comes before the address, and mends it
    if found:
        st.rerun()  # a widget takes its value from the address that the run began with
    for words in refused.values():
        st.caption(plain(words))
    refused.clear()


def _in_sidebar() -> dict[str, Callable[[str], bool]]:
    return {
        "model": _is_model,
        "text": one_of(SOURCES),
        "task": one_of([*_offered_tasks(), OWN_FILE]),
        "seed": between(0, LARGEST_SEED),
        "rank": between(1, LARGEST_RANK),
    }


def _may_be_typed() -> bool:
    offered = models()
    return offered is None or ANY in offered


def _is_model(name: str) -> bool:
    with suppress(AdaRankError):
        check_model_name(name)
        return bool(name.strip()) and name.isprintable()
    return False


def _offered_tasks() -> tuple[str, ...]:
    offered = tasks(task_names())
    return task_names() if offered is None else offered


def one_of(choices: Container[str]) -> Callable[[str], bool]:
    """Return whether a value in the address is one of these; for `open_page`.

    Examples
    --------
    >>> one_of(["rank", "layer"])("zork")
    False
    """
    return lambda value: value in choices


def between(low: float, high: float) -> Callable[[str], bool]:
    """Return whether a value in the address is a number from low to high; for `open_page`.

    Whole numbers if these are.

    Examples
    --------
    >>> [between(0, 3)(value) for value in ("3", "2.5", "4", "inf", "x")]
    [True, False, False, False, False]
    >>> [between(0.0, 3.0)(value) for value in ("2.5", "nan")]
    [True, False]
    """
    kind = type(low)

    def fits(value: str) -> bool:
        try:
            return low <= kind(value) <= high  # which infinity and NaN never are
        except ValueError:
            return False

    return fits


def _own_file() -> str:
    """Draw the uploader; return the path of the newest file that could be read."""
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
        st.caption("No file yet: docstrings is used.")
        return task_names()[0]
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
    """Return the newest scores of the chosen kind of text, else the stored example."""
    kept = st.session_state.get("scores", {})
    if choice.source in kept:
        return kept[choice.source]
    about = example_about()
    scores, text = example_scores(choice.source), about.get(choice.source, "")
    return Shown(scores, "stored example", choice.source, text)


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
