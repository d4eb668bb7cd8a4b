"""Labelled data to fine-tune on: the embedded task, four from the Hub, or your own file."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from adarank_core.data.docstrings import docstrings_task
from adarank_core.data.tables import KINDS, read_table
from adarank_core.data.task import SPLITS, Task, normalised, split_of
from adarank_core.errors import AdaRankError
from adarank_core.files import check_uploaded, read_json
from adarank_core.limits import check_task_name, hide_token

__all__ = ["FILE_NAMES", "load_task", "task_names"]

Progress = Callable[[str, float], None]
MOST_CLASSES = 10_000  # the head has a row for each
FILE_NAMES = {"train": ("train",), "validation": ("validation", "val", "dev"), "test": ("test",)}
MANY_ROWS = 50  # with as many, a tenth taken by hash is empty once in 200 times


@dataclass(frozen=True)
class HubSource:
    """Where a task lies on the Hub; ``test`` is the split whose labels are published."""

    repository: str
    text: str = "text"
    label: str = "label"
    test: str = "test"
    revision: str | None = None


HUB = {
    "trec": HubSource("CogComp/trec", label="coarse_label", revision="refs/convert/parquet"),
    "ag_news": HubSource("fancyzhx/ag_news"),
    "yelp_polarity": HubSource("fancyzhx/yelp_polarity"),
    "sst2": HubSource("stanfordnlp/sst2", text="sentence", test="validation"),
}


def task_names() -> tuple[str, ...]:
    """Return the names that `load_task` knows: the embedded task, then those on the Hub.

    Examples
    --------
    >>> task_names()
    ('docstrings', 'trec', 'ag_news', 'yelp_polarity', 'sst2')
    """
    return ("docstrings", *HUB)


def load_task(name: str | Path, progress: Progress | None = None) -> Task:
    """Load a task by its name, or from a file or folder.

    Parameters
    ----------
    name : str or pathlib.Path
        One of `task_names`, the path of a CSV, JSONL or Parquet file with the columns ``text``
        and ``label``, or of a folder with such files named ``train``, ``validation`` (or ``val``
        or ``dev``) and ``test``. What is missing is split off ``train`` by a hash of each text: a
        tenth for validation, a tenth for test. Integer labels get their names from the
        ``label_names`` of a ``meta.json`` beside the files, where there is one.
    progress : callable, optional
        Called with a message and the share done, from 0 to 1.

    Returns
    -------
    Task

    Raises
    ------
    AdaRankError
        If there is no such task, it cannot be fetched or read, or its data cannot be trained on.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "moods.csv"
    >>> rows = [f"I am {mood} {i}.,{mood}" for i in range(50) for mood in ("glad", "sad")]
    >>> _ = file.write_text("\\n".join(["text,label", *rows]), encoding="utf-8")
    >>> task = load_task(file)
    >>> task.name, task.label_names, len(task.train) + len(task.validation) + len(task.test)
    ('moods', ('glad', 'sad'), 100)
    """
    report = progress or (lambda message, share: None)
    check_task_name(str(name), task_names())
    if name == "docstrings":
        return docstrings_task(progress)
    if name in HUB:
        return _from_hub(str(name), report)
    path = Path(name)
    check_uploaded(path)
    try:
        folder = path if path.is_dir() else path.parent if path.exists() else None
    except OSError:  # a name too long to be a path
        folder = None
    if folder is None:
        raise AdaRankError(
            f"there is no task, file or folder {str(name)!r}; give {', '.join(task_names())}, or "
            "the path of a CSV, JSONL or Parquet file with the columns text and label"
        )
    report(f"reading {path.name}", 0.0)
    files = _split_files(path) if folder == path else {"train": path}
    tables = {split: read_table(file) for split, file in files.items()}
    names = _give_label_ids(tables, _names_in_meta(folder / "meta.json"), path)
    task = _finished(path.resolve().name if folder == path else path.stem, names, tables, path)
    report(f"{task.name} is ready", 1.0)
    return task


def _finished(name: str, names: Iterable[str], tables: dict, source: str | Path) -> Task:
    """Split off what is missing, take out what would leak, and refuse what is then left empty."""
    rows = sum(map(len, tables.values()))
    missing = [split for split in SPLITS if split not in tables]
    if missing:
        whole = tables["train"]
        homes = whole["text"].map(split_of)
        tables = {**tables, **{split: whole[homes == split] for split in missing}}
        tables["train"] = whole[~homes.isin(missing)]
    seen: set[str] = set()  # in the end all different texts
    for split in reversed(SPLITS):  # a text in two splits stays in the one nearer to the test
        keys = tables[split]["text"].map(normalised)
        tables[split] = tables[split][~keys.isin(seen)].reset_index(drop=True)
        seen.update(keys)
    for split in SPLITS[1:]:
        if tables[split].empty and split not in missing:
            raise AdaRankError(
                f"the {split} split of {str(source)!r} has no text that is not in its test split "
                "too; give it others"
            )
        if tables[split].empty:
            raise AdaRankError(
                f"{str(source)!r} has {rows} rows ({len(seen)} different), which leaves none for "
                f"the {split} split; give at least {max(MANY_ROWS, 2 * len(seen))} rows with "
                "different texts"
            )
    names = tuple(names)
    for label in sorted(set(range(len(names))) - set(tables["train"]["label"])):
        raise AdaRankError(
            f"the class {names[label]!r} of {str(source)!r} has no row in the train split; "
            "give every class more rows to train on"
        )
    return Task(name, names, **{split: tables[split] for split in SPLITS})


# From the Hub ------------------------------------------------------------------------------------


def _from_hub(name: str, report: Progress) -> Task:
    report(f"fetching {name} from the Hugging Face Hub", 0.0)
    hide_token()
    import datasets  # slow to import, and only needed here

    source = HUB[name]
    was_offline = datasets.config.HF_HUB_OFFLINE
    # Without an answer, datasets would retry for 23 s; offline it takes its cache or fails at once.
    datasets.config.HF_HUB_OFFLINE = was_offline or not _hub_answers(datasets.config.HF_ENDPOINT)
    try:
        loaded = datasets.load_dataset(source.repository, revision=source.revision)
        frames = {"train": loaded["train"], "test": loaded[source.test]}
        feature = frames["train"].features[source.label]
        tables = {
            split: pd.DataFrame({"text": rows[source.text][:], "label": rows[source.label][:]})
            for split, rows in frames.items()
        }
    except datasets.exceptions.DatasetNotFoundError:
        raise AdaRankError(
            f"the task {name!r} is not at {datasets.config.HF_ENDPOINT} as {source.repository!r}; "
            "use 'docstrings' or your own file"
        ) from None
    except Exception as error:  # datasets and what it calls raise many kinds
        if datasets.config.HF_HUB_OFFLINE:
            problem = "needs the Hugging Face Hub, which cannot be reached"
        else:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            problem = f"could not be fetched from the Hugging Face Hub ({reason})"
        raise AdaRankError(
            f"the task {name!r} {problem}; use 'docstrings' or your own file"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline
    for split, table in tables.items():  # the Hub's rows are not the user's to mend
        tables[split] = table[(table["label"] >= 0) & (table["text"].str.strip() != "")]
    names = getattr(feature, "names", None) or map(str, range(tables["train"]["label"].max() + 1))
    task = _finished(name, names, tables, name)
    report(f"{name} is ready", 1.0)
    return task


def _hub_answers(endpoint: str) -> bool:
    from huggingface_hub.utils import get_session  # its proxies and certificates

    try:
        get_session().head(endpoint, timeout=5)
    except Exception:  # no name, no route, no certificate, offline by choice, …
        return False
    return True


# From files --------------------------------------------------------------------------------------


def _split_files(folder: Path) -> dict[str, Path]:
    files = {}
    for split in SPLITS:
        names = [f"{name}{kind}" for name in FILE_NAMES[split] for kind in KINDS]
        found = [file for name in names if (file := folder / name).exists()]
        if len(found) > 1:
            raise AdaRankError(
                f"the folder {str(folder)!r} holds {found[0].name} and {found[1].name}; keep one"
            )
        if found:
            files[split] = found[0]
    if "train" not in files:
        raise AdaRankError(
            f"the folder {str(folder)!r} holds no train file; add train.csv, train.jsonl or "
            "train.parquet with the columns text and label"
        )
    return files


def _names_in_meta(file: Path) -> list[str] | None:
    try:
        names = read_json(file)["label_names"]
        fit = isinstance(names, list) and len(set(names)) == len(names) > 1
        return names if fit and all(map(str.strip, names)) else None
    except (AdaRankError, TypeError, LookupError):
        return None  # no such file, or not one of ours


def _give_label_ids(tables: dict, names: list[str] | None, source: Path) -> list[str]:
    """Put an integer for every label in place; return the labels' names."""
    found = sorted(set().union(*(table["label"] for table in tables.values())))
    integers = all(re.fullmatch(r"-?[0-9]{1,18}", label) for label in found)
    if names and integers:
        ids = {label: int(label) for label in found if 0 <= int(label) < len(names)}
    elif names:
        places = {name: position for position, name in enumerate(names)}
        ids = {label: places[label] for label in found if label in places}
    else:
        names = sorted(found, key=int) if integers else found
        ids = {label: position for position, label in enumerate(names)}
    for label in found:
        if label not in ids:
            raise AdaRankError(
                f"the label {label!r} of {str(source)!r} is none of the {len(names)} classes in "
                "the meta.json beside it; correct one of them"
            )
    if len(found) < 2:
        raise AdaRankError(
            f"{str(source)!r} has one class only, {found[0]!r}; give rows of at least two classes"
        )
    if len(names) > MOST_CLASSES:
        raise AdaRankError(
            f"{str(source)!r} has {len(names):,} classes; give at most {MOST_CLASSES:,}, or "
            "another column as the label"
        )
    for table in tables.values():
        table["label"] = table["label"].map(ids).astype(int)
    return names
