"""What a run's ``study.json`` answers, or what is wrong with it; read once a change."""

from functools import lru_cache
from pathlib import Path

from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import read_json
from adarank_core.lab.study import StudyResult

__all__ = ["answer_or_damage"]


def answer_or_damage(folder: Path) -> tuple[str, str]:
    """Return the answer of a run's study, and what is wrong with its file.

    Parameters
    ----------
    folder : pathlib.Path

    Returns
    -------
    answer : str
        Empty as long as not all is measured.
    damage : str
        A sentence; empty where the file is in order or there is none.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> answer_or_damage(folder)
    ('', '')
    >>> _ = (folder / "study.json").write_text("[]")
    >>> answer_or_damage(folder)[1] != ""
    True
    """
    path = folder / "study.json"
    try:
        about = path.stat()
    except OSError:
        return "", ""
    return _looked_at(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _looked_at(path: Path, changed: int, size: int) -> tuple[str, str]:
    """Read the file as it was changed last."""
    try:
        return StudyResult.from_dict(read_json(path)).answer, ""
    except AdaRankError as error:
        return "", by_name(error, path)
