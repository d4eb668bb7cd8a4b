"""What a run answers in a word or a sentence, or what is wrong with its file."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from adarank_core.comparison.sentences import word_of
from adarank_core.comparison.verdicts import Verdict
from adarank_core.errors import AdaRankError, by_name
from adarank_core.files import read_json
from adarank_core.lab.study import StudyResult
from adarank_core.numerals import signed

__all__ = ["answer_or_damage", "effect", "verdict_or_damage"]


def verdict_or_damage(folder: Path) -> tuple[str, str]:
    """Return the word of a comparison's verdict, and what is wrong with its file.

    Parameters
    ----------
    folder : pathlib.Path

    Returns
    -------
    verdict : str
        On the primary metric, of ``adarank`` or else of the first arm that is compared, against
        the reference, as `word_of` has it; ``"better (exploratory)"`` where it was not the first
        look. Empty where there is none.
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
    told, damage = _told(folder / "verdict.json", _verdict)
    return (told[0] if told else ""), damage


def effect(folder: Path) -> str:
    """Return the difference that `verdict_or_damage` has the word of, and its interval.

    Examples
    --------
    >>> import tempfile
    >>> effect(Path(tempfile.mkdtemp()))
    ''
    """
    told, _ = _told(folder / "verdict.json", _verdict)
    return told[1] if told else ""


def answer_or_damage(folder: Path) -> tuple[str, str]:
    """Return the answer of a study, and what is wrong with its file.

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
    >>> answer_or_damage(Path(tempfile.mkdtemp()))
    ('', '')
    """
    return _told(folder / "study.json", _answer)


def _told(path: Path, word: Callable) -> tuple:
    try:
        about = path.stat()
    except OSError:
        return "", ""
    return _read(path, word, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _read(path: Path, word: Callable, changed: int, size: int) -> tuple:
    """Read the file as it was changed last."""
    try:
        return word(read_json(path)), ""
    except AdaRankError as error:
        return "", by_name(error, path)


def _verdict(data: dict) -> tuple[str, str]:
    """Return the word and the effect, or nothing where nothing is compared."""
    verdict = Verdict.from_dict(data)
    if not verdict.arms:
        raise AdaRankError("the verdict has no arms")
    # Against the reference come before all others.
    of_adarank = [compared for compared in verdict.primary if compared["arm"] == "adarank"]
    compared = next(iter((*of_adarank, *verdict.primary)), None)
    if compared is None:
        return "", ""
    low, high = compared["ci_low"], compared["ci_high"]
    interval = "" if low is None else f" ({signed(low)} to {signed(high)})"
    word = word_of(compared, verdict) + (" (exploratory)" if verdict.exploratory else "")
    return word, f"{signed(compared['difference'])}{interval}"


def _answer(data: dict) -> str:
    return StudyResult.from_dict(data).answer
