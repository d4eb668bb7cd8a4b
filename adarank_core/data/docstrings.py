"""The embedded task: which of six subjects is a docstring about?

The texts are the first paragraphs of the docstrings of the libraries that AdaRank itself installs,
read from their source with `ast`; no library is imported for it. Library names are masked, and
what a machine wrote or a hand copied from class to class is dropped. The table is kept in the
cache folder and made again when one of the libraries changes.
"""

import ast
import hashlib
import inspect
import platform
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from adarank_core.data.task import Task, normalised, split_of
from adarank_core.errors import AdaRankError
from adarank_core.files import cache_folder, check_file, replacing

__all__ = ["SUBJECTS", "build_docstrings", "docstrings_task"]

CORPUS_VERSION = 2  # raise it when a change below changes the texts
CACHE_MEGABYTES = 20  # it has one
LARGEST_CLASS = 1200
FEWEST_WORDS, MOST_WORDS = 5, 40
SHARED_OPENING, LARGEST_FAMILY = 4, 6  # at most 6 texts of a class open with the same 4 words

# Subject: the installed packages it is read from, then parts of the standard library. A name that
# is not there is passed over (httpx comes as httpx or as httpx2; asynchat left Python in 3.12).
SUBJECTS: dict[str, tuple[str, str]] = {
    "dataframes": ("pandas", ""),
    "machine learning": ("sklearn", ""),
    "plotting": ("plotly", ""),
    "web apps": ("streamlit", ""),
    "networking": (
        "starlette uvicorn httpx httpcore httpx2 httpcore2 urllib3 requests websockets anyio h11",
        "asyncio email http urllib wsgiref xmlrpc asynchat.py asyncore.py cgi.py ftplib.py "
        "imaplib.py ipaddress.py mailbox.py mimetypes.py netrc.py nntplib.py poplib.py "
        "selectors.py smtpd.py smtplib.py socket.py socketserver.py ssl.py telnetlib.py",
    ),
    "language models": ("transformers", ""),
}

# Folders and files that hold tests, other people's code, or what a program wrote (or wrote from:
# each modular_x.py of transformers is there again as modeling_x.py).
SKIPPED = re.compile(
    r"_?tests?|_?testing(_utils)?\.?.*|test_.*|conftest\.py|_?vendor(ed)?|externals|proto"
    r"|validators|graph_objects|modular_.*"
)

LIBRARY = "[library]"
LIBRARY_NAME = re.compile(
    # names that mean nothing else, within any word (PandasObject, torch_npu) …
    r"(?<![\w.])[\w.]*?(?:pandas|numpy|scipy|scikit-?(?:learn|image)|sklearn|plotly|matplotlib|pyarrow|polars"
    r"|streamlit|starlette|uvicorn|fastapi|httpx|httpcore|urllib|websockets|asyncio|uvloop|wsgiref"
    r"|xmlrpc|socketserver|torch|tensorflow|hugging ?face|transformers_)(?:[\w.]*\w)?"
    # … and others as whole words
    r"|(?<![\w-])(?:pd|np|st(?=\.\w)|px(?=\.\w)|tf(?=\.\w)|requests(?=\.\w)|seaborn|statsmodels"
    r"|joblib|tornado|anyio|trio|h11|h2|asyncore|asynchat|ipaddress|(?:ftp|smtp|imap|pop|nntp|telnet)lib"
    r"|http\.\w+|email\.\w+|transformers|keras|jax|flax|peft|accelerate|bitsandbytes|deepspeed)"
    r"(?:\.\w+)*(?![\w-])",
    re.IGNORECASE,
)

MARKUP = (
    (re.compile(r":[\w:+-]+:`~?\.?([^`<]*?)\s*(?:<[^`]*>)?`"), r"\1"),  # :class:`~x.Y`
    (re.compile(r"\[([^\]]*)\]\([^)]*\)"), r"\1"),  # [words](address)
    (re.compile(r"\[`([^`]*)`\]"), r"\1"),  # [`Name`]
    (re.compile(r"`([^`<]*?)\s*<[^`>]*>`_+"), r"\1"),  # `words <address>`_
    (re.compile(r"`+_+(?!\w)|`+|\*\*|~(?=\w)|(?<=\w)_(?=[\s.,])"), ""),
    (re.compile(r"\s+([.,;:])(?=\s|$)"), r"\1"),
)

# What is not prose: tables, code, lists of parameters, signatures, notices of a machine.
NOT_PROSE = re.compile(
    r"----|====|~~~~|>>>|```|\.\. |->|^\W*\w+\(|\w\s=\s\w|=>|:param|:return|https?://|\{\{|\|"
    r"|^(?:args|arguments|parameters|returns?|yields?|raises|notes?|examples?|usage|attributes)\s*:"
    r"|^\w+\s*:\s|^\w+ \(|@|\\|^(?:see|same as|alias|deprecated|auto-?generated)\b",
    re.IGNORECASE,
)
SECTION = re.compile(
    r"\n\s*(?:Args|Arguments|Parameters|Returns?|Raises|Examples?|Notes?)(?::.*)?\n|\n\s*[-*+] "
)
# A word that names a thing of one library rather than says something: with it gone, copies match.
NAME = re.compile(r"""\[library\]|'[^']*'|"[^"]*"|\([^)]*\)|\b[b-z]\b|[\w.-]*[\d_A-Z][\w.-]*""")


def build_docstrings(progress: Callable[[str, float], None] | None = None) -> pd.DataFrame:
    """Read the corpus from the installed libraries, anew.

    Parameters
    ----------
    progress : callable, optional
        Called with a message and the share done, from 0 to 1.

    Returns
    -------
    pandas.DataFrame
        Columns ``text``, ``label`` (a subject) and ``split`` (``train``, ``validation`` or
        ``test``). The same libraries give the same table.

    Examples
    --------
    >>> from adarank_core.data.docstrings import build_docstrings
    >>> table = build_docstrings()  # doctest: +SKIP
    >>> list(table.columns)  # doctest: +SKIP
    ['text', 'label', 'split']
    """
    found = {}
    work = {subject: list(_source_files(subject)) for subject in SUBJECTS}
    total, done = sum(map(len, work.values())), 0
    for subject, files in work.items():
        texts, seen = {}, set()
        for file in files:
            if progress and done % 100 == 0:
                progress(f"reading docstrings: {subject}", done / total)
            done += 1
            for paragraph in _first_paragraphs(file):
                if paragraph not in seen and (text := clean(paragraph)):
                    texts.setdefault(normalised(text), text)
                seen.add(paragraph)
        found[subject] = texts
    subjects_of = Counter(key for texts in found.values() for key in texts)
    rows = []
    for subject, texts in found.items():
        own = [text for key, text in texts.items() if subjects_of[key] == 1]
        chosen = without_families(sorted(own, key=_order))[:LARGEST_CLASS]
        if not chosen:
            raise AdaRankError(
                f"no docstring about {subject!r} was found; install what requirements.txt names, "
                "with its .py files"
            )
        rows += [(text, subject, split_of(text)) for text in chosen]
    if progress:
        progress("docstrings are ready", 1.0)
    return pd.DataFrame(rows, columns=["text", "label", "split"])


def docstrings_task(progress: Callable[[str, float], None] | None = None) -> Task:
    """Return the embedded task, from the cache where it is there.

    Parameters
    ----------
    progress : callable, optional
        Called with a message and the share done, from 0 to 1.

    Returns
    -------
    adarank_core.data.task.Task

    Examples
    --------
    >>> from adarank_core.data.docstrings import docstrings_task
    >>> docstrings_task().label_names  # doctest: +SKIP
    ('dataframes', 'machine learning', 'plotting', 'web apps', 'networking', 'language models')
    """
    file = cache_folder() / f"docstrings-{_libraries_key()}.parquet"
    table = _read_cache(file)
    if table is None:
        table = build_docstrings(progress)
        _write_cache(table, file)
    elif progress:
        progress("docstrings are ready", 1.0)
    names = tuple(SUBJECTS)
    table["label"] = table["label"].map(names.index)
    splits = {
        split: table.loc[table["split"] == split, ["text", "label"]].reset_index(drop=True)
        for split in ("train", "validation", "test")
    }
    return Task("docstrings", names, **splits)


def clean(paragraph: str) -> str:
    """Return a docstring's first paragraph as plain masked text, or ``""`` if it is no prose.

    Parameters
    ----------
    paragraph : str

    Returns
    -------
    str
        One line of 5 to 40 words, with library names as ``[library]``; or empty.

    Examples
    --------
    >>> from adarank_core.data.docstrings import clean
    >>> clean("Convert a :class:`~pandas.Series`\\nto a ``numpy`` array of floats.")
    'Convert a [library] to a [library] array of floats.'
    >>> clean("sort(values, /) -> list")
    ''
    """
    text = SECTION.split("\n" + paragraph.strip() + "\n")[0]
    if NOT_PROSE.search(text.strip()):
        return ""
    for pattern, replacement in MARKUP:
        text = pattern.sub(replacement, text)
    text = " ".join(LIBRARY_NAME.sub(LIBRARY, text).split())
    words = text.split()
    plain = sum(word.strip(".,;:()[]'\"!?").replace("-", "").isalpha() for word in words)
    if not FEWEST_WORDS <= len(words) <= MOST_WORDS or plain < 0.7 * len(words):
        return ""
    return text if text.isascii() and text[0].isalpha() and not text.endswith(":") else ""


def without_families(texts: list[str]) -> list[str]:
    """Drop texts that repeat the shape of an earlier one, and all but a few of a long series.

    Two texts have one shape if they hold the same words once names, numbers and what is in
    brackets or quotes are taken out; a series is the texts that then open with the same words.

    Parameters
    ----------
    texts : list of str

    Returns
    -------
    list of str
        In the given order.

    Examples
    --------
    >>> from adarank_core.data.docstrings import without_families
    >>> without_families(["Set the width of a Bar trace.", "Set the width of a Pie trace."])
    ['Set the width of a Bar trace.']
    """
    kept, shapes, openings = [], set(), Counter()
    for text in texts:
        words = re.findall(r"\w+", NAME.sub(" ", text[0].lower() + text[1:]))
        shape, opening = frozenset(words), tuple(words[:SHARED_OPENING])
        if shape in shapes or openings[opening] == LARGEST_FAMILY:
            continue
        shapes.add(shape)
        openings[opening] += 1
        kept.append(text)
    return kept


def _source_files(subject: str) -> Iterator[Path]:
    packages, parts = SUBJECTS[subject]
    roots = [Path(sysconfig.get_path("stdlib")) / part for part in parts.split()]
    for package in packages.split():
        spec = find_spec(package)  # finds a top-level name without importing it
        if spec is not None and spec.submodule_search_locations:
            roots.append(Path(spec.submodule_search_locations[0]))
    for root in roots:
        if root.is_file():
            yield root
        for file in sorted(root.rglob("*.py")) if root.is_dir() else ():
            if not any(SKIPPED.fullmatch(part) for part in file.relative_to(root).parts):
                yield file


def _first_paragraphs(file: Path) -> Iterator[str]:
    try:
        source = file.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # others' invalid escapes
            waiting = [ast.parse(source)] if '"""' in source or "'''" in source else []
    except (OSError, ValueError, SyntaxError):  # a template, or Python 2
        return
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                documentation = ast.get_docstring(node, clean=False)
                if documentation:
                    yield re.split(r"\n\s*\n", inspect.cleandoc(documentation).strip(), maxsplit=1)[
                        0
                    ]
            if isinstance(node, ast.stmt):
                waiting.append(node)


def _order(text: str) -> str:
    # Not the hash that splits: choosing by that one would choose among the splits.
    return hashlib.sha256(b"order\0" + normalised(text).encode()).hexdigest()


def _libraries_key() -> str:
    distributions = packages_distributions()
    parts = [f"corpus {CORPUS_VERSION}", f"python {platform.python_version()}"]
    for package in " ".join(packages for packages, _ in SUBJECTS.values()).split():
        parts += [f"{name} {version(name)}" for name in sorted(set(distributions.get(package, ())))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _read_cache(file: Path) -> pd.DataFrame | None:
    try:
        check_file(file, CACHE_MEGABYTES)
        table = pd.read_parquet(file, columns=["text", "label", "split"])
    except Exception:  # missing, cut short or not Parquet: whatever it is, it is made again
        return None
    whole = set(table["label"]) == set(SUBJECTS) and table["text"].map(type).eq(str).all()
    return table if whole else None


def _write_cache(table: pd.DataFrame, file: Path) -> None:
    """Keep the table for the next time, where there is room; without, it is made again."""
    with suppress(OSError), replacing(file) as partial:
        table.to_parquet(partial, index=False)
