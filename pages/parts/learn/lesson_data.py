"""The lesson's words and the evidence it tells of, as data.

A language is a file ``lesson.de.toml`` (say) beside the English one, of the same shape. What counts
as right in it is held by ``tests/pages/parts/learn/test_lesson_data.py``.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, NotRequired

from annotated_types import Ge, MinLen
from typing_extensions import TypedDict

from adarank_core.errors import AdaRankError
from adarank_core.files import read_json, read_text
from adarank_core.schemas import STRICT, Name, check_format, validated

__all__ = [
    "ASSETS",
    "FORMAT",
    "Check",
    "Lesson",
    "Step",
    "Story",
    "evidence",
    "languages",
    "lesson",
]

ASSETS = Path(__file__).resolve().parents[3] / "assets" / "lesson"
FORMAT = "adarank-lesson/1"
_Names = Annotated[list[Name], MinLen(1)]
_Minutes = Annotated[int, Ge(1)]


class Choice(TypedDict):
    """One answer to a check; ``why`` tells what is right or wrong about it."""

    __pydantic_config__ = STRICT
    text: Name
    why: Name
    right: NotRequired[bool]


class Check(TypedDict):
    """A question with its answers, of which one is right."""

    __pydantic_config__ = STRICT
    question: Name
    choices: Annotated[list[Choice], MinLen(2)]


class Story(TypedDict):
    """A result told in words; its figures are the row of the same ``id`` of `evidence`."""

    __pydantic_config__ = STRICT
    id: Name
    title: Name
    text: Name


class Step(TypedDict):
    """One of the lesson's steps; minutes are for ``teaching`` and for ``doing`` the task."""

    __pydantic_config__ = STRICT
    id: Name
    name: Name
    title: Name
    title_alone: NotRequired[Name]
    questions: _Names
    objective: Name
    teaching: _Minutes
    doing: _Minutes
    task: Name
    predictions: NotRequired[_Names]
    passages: _Names
    points: _Names
    stories: NotRequired[list[Story]]
    check: Check


class Lesson(TypedDict):
    """The whole lesson in one language."""

    __pydantic_config__ = STRICT
    format: Name
    language: Name
    title: Name
    right: Name
    wrong: Name
    noted: Name
    steps: Annotated[list[Step], MinLen(1)]


def languages() -> list[str]:
    """Return the codes of the languages that the lesson is there in, English first.

    Examples
    --------
    >>> languages()[0]
    'en'
    """
    codes = {file.name.split(".")[1] for file in ASSETS.glob("lesson.*.toml")}
    return ["en", *sorted(codes - {"en"})]


@cache
def lesson(language: str = "en") -> Lesson:
    """Read the lesson in one of `languages`.

    Raises
    ------
    AdaRankError
        If the file is no TOML, or lacks something.

    Examples
    --------
    >>> [step["id"] for step in lesson()["steps"]][:2]
    ['rank', 'noise']
    """
    file = ASSETS / f"lesson.{language}.toml"
    try:
        data = tomllib.loads(read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise AdaRankError(f"{file.name!r} is not valid TOML ({error})") from None
    check_format(data, FORMAT, "lesson")
    return validated(data, Lesson, "the lesson")


@cache
def evidence() -> dict[str, dict]:
    """Return the results that the lesson tells of, by their ``id``.

    Each is a difference of two arms' test loss with what is known of it (interval, p-values, the
    smallest difference that the seeds could have shown) and its ``source``.

    Examples
    --------
    >>> evidence()["trec-uniform"]["arm"]
    'adarank'
    """
    data = read_json(ASSETS / "evidence.json")
    check_format(data, "adarank-evidence/1", "evidence")
    return {row["id"]: row for row in data["rows"]}
