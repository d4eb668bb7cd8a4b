"""What a run's ``verdict.json`` says in a word, or what is wrong with it; read once a change."""

from functools import lru_cache
from pathlib import Path

from adarank_core.comparison.verdicts import Verdict
from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import read_json

__all__ = ["verdict_or_damage"]


def verdict_or_damage(folder: Path) -> tuple[str, str]:
    """Return the word of a run's verdict, and what is wrong with its file.

    Parameters
    ----------
    folder : pathlib.Path

    Returns
    -------
    verdict : str
        On the primary metric, of ``adarank`` or else of the first arm that is compared, against
        the reference; ``"better (exploratory)"`` where it was not the first look. Empty where
        there is none.
    damage : str
        A sentence; empty where the file is in order or there is none.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> verdict_or_damage(folder)
    ('', '')
    >>> _ = (folder / "verdict.json").write_text("[]")
    >>> verdict_or_damage(folder)[1] != ""
    True
    """
    path = folder / "verdict.json"
    try:
        about = path.stat()
    except OSError:
        return "", ""
    return _looked_at(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _looked_at(path: Path, changed: int, size: int) -> tuple[str, str]:
    """Read the file as it was changed last."""
    try:
        verdict = Verdict.from_dict(read_json(path))
    except AdaRankError as error:
        return "", by_name(error, path)
    if not verdict.arms:
        return "", "the verdict has no arms"
    # Against the reference come before all others.
    of_adarank = [compared for compared in verdict.primary if compared["arm"] == "adarank"]
    words = [compared["verdict"] for compared in (*of_adarank, *verdict.primary)]
    if not words:
        return "", ""
    return words[0] + (" (exploratory)" if verdict.exploratory else ""), ""
