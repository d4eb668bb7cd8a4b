"""What a run reads is kept in its folder, so that it can go on where the original is gone.

A task's file or folder and the ``ranks.json`` of an arm may lie in a temporary folder, as uploads
do, or be named from another working directory. Each is copied to ``inputs/<digest of the name that
was given>/`` under its own name, which names the task. A model is too large to copy: its folder is
remembered by its whole path.
"""

import filecmp
import hashlib
import os
import shutil
import threading
from pathlib import Path

from adarank_core.data.tables import KINDS
from adarank_core.data.tasks import FILE_NAMES, task_names
from adarank_core.errors import AdaRankError
from adarank_core.files import check_uploaded
from adarank_core.limits import is_walled

__all__ = ["input_path", "keep_input", "model_path"]


def model_path(name: str) -> str:
    """Return a model's folder as a whole path, and any other name for a model as it is.

    So a run finds it from any working folder, or tells which folder is gone.

    Parameters
    ----------
    name : str
        As for `load_model`.

    Examples
    --------
    >>> model_path("embedded")
    'embedded'
    """
    if is_walled():  # whether there is such a folder is told to nobody
        return name
    try:
        return str(Path(name).resolve()) if name != "embedded" and Path(name).is_dir() else name
    except (OSError, ValueError):  # a name that no folder has
        return name


def input_path(folder: Path | None, name: str) -> str:
    """Return where to read a run's task or plan: its own copy if there is one, or else ``name``.

    Parameters
    ----------
    folder : pathlib.Path or None
        The run's; None where it has none yet.
    name : str
        As it was given: a path, or the name of a task.

    Examples
    --------
    >>> input_path(Path("run"), "docstrings")
    'docstrings'
    """
    if folder is None:
        return name
    place = _place(folder, name)
    return str(place / _last_part(name)) if place.exists() else name


def keep_input(folder: Path, name: str) -> str:
    """Copy a run's task or plan into its folder, unless that is done; return the copy's path.

    Parameters
    ----------
    folder : pathlib.Path
        The run's.
    name : str
        As it was given. What is no path of a file or folder stays as it is.

    Raises
    ------
    AdaRankError
        If it cannot be read, or has changed since it was copied.
    OSError
        If the copy cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "ranks.json").write_text("{}")
    >>> keep_input(folder / "run", str(folder / "ranks.json")) == str(folder / "ranks.json")
    False
    """
    if name not in task_names():
        check_uploaded(name)
    files = _files(name)
    place = _place(folder, name)
    if not files:
        return input_path(folder, name)
    if place.exists():
        # A folder's copy has all its files; a single file's may lie beside a meta.json.
        copied = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
        same = copied == files.keys()
        if not same or not all(_is_equal(path, place / to) for to, path in files.items()):
            raise AdaRankError(
                f"{name!r} has changed since the run in {str(folder)!r} began; give another "
                "output folder, or the file as it was"
            )
        return input_path(folder, name)
    partial = place.with_name(f".{place.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        for to, path in files.items():
            (partial / to).parent.mkdir(parents=True, exist_ok=True)
            with _opened(path) as source, (partial / to).open("wb") as target:
                shutil.copyfileobj(source, target)
        partial.rename(place)  # the whole of it or nothing
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return input_path(folder, name)


def _place(folder: Path, name: str) -> Path:
    return (
        folder / "inputs" / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    )


def _last_part(name: str) -> str:
    last = Path(name).name
    return Path(name).resolve().name if last in ("", "..") else last


def _files(name: str) -> dict[str, Path]:
    """Return the files that a task or plan consists of, by the names that their copies get."""
    path, last = Path(name), _last_part(name)
    if name in task_names():
        return {}
    try:
        if path.is_file():
            about = path.with_name("meta.json")
            beside = {about.name: about} if path.suffix.lower() in KINDS and about.is_file() else {}
            return {last: path, **beside}
        stems = [stem for stems in FILE_NAMES.values() for stem in stems]
        names = [f"{stem}{kind}" for stem in stems for kind in KINDS] + ["meta.json"]
        return {f"{last}/{each}": path / each for each in names if (path / each).is_file()}
    except OSError:  # a name too long to be a path
        return {}


def _opened(path: Path):
    try:
        return path.open("rb")
    except OSError as error:
        raise AdaRankError(f"{str(path)!r} cannot be read ({error.strerror})") from None


def _is_equal(path: Path, copy: Path) -> bool:
    _opened(path).close()
    return filecmp.cmp(path, copy, shallow=False)
