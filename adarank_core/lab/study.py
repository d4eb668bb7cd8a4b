"""What a study is, what it is asked for and what it comes to. Without torch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, NotRequired

from annotated_types import Interval
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.checks import is_number, is_whole
from adarank_core.errors import AdaRankError, quoted
from adarank_core.hardware import check_device, check_dtype
from adarank_core.limits import check_limit, check_model_name
from adarank_core.schemas import STRICT, FailFast, Name, Text, check_format, validated

if TYPE_CHECKING:  # which builds on this file
    from adarank_core.lab.bench import Bench

__all__ = ["Cell", "Study", "StudyProgress", "StudyRequest", "StudyResult"]

FORMAT = "adarank-study/1"
# Settings that multiply the units, of which a list is kept: of these at most so many, and of the
# entries of a list.
COUNTED, MOST_UNITS = ("seeds", "repeats"), 1000
Number = Annotated[float, Interval(ge=-1e15, le=1e15)]
#: A value in a row or among the settings.
Cell = Text | bool | int | Number | None


class _StudyFile(TypedDict):
    __pydantic_config__ = STRICT
    study: Name
    settings: dict[Name, Cell | list[Cell]]
    versions: dict[Name, Text]
    rows: Annotated[list[dict[Name, Cell]], FailFast()]
    answer: Text
    details: NotRequired[Text]  # older files have none


@dataclass(frozen=True)
class Study:
    """One question about the method, and how it is answered: a file of this folder.

    A study is a list of units, each measured once and kept; rows are made of all that is measured
    so far, and the answer of the rows of a finished study.

    Parameters
    ----------
    name : str
        As the command line knows it.
    question : str
        In one sentence.
    defaults : mapping of str to int, float, str or list
        The study's own settings: numbers above 0, words, or lists of either. With them it ends
        within two minutes on two cores with the embedded model.
    units : callable
        Takes the `Bench`; returns what is to be measured, as flat dictionaries. Refuses a task
        or a model that the study cannot be done with.
    measure : callable
        Takes the `Bench` and a unit. A generator that yields the share done, from 0 to 1, and
        returns what was measured as a dictionary for JSON, or None where it was told to stop.
    rows : callable
        Takes a list of what was measured so far, each with its unit's keys and ``seconds``, and
        the settings; returns the rows, flat dictionaries. A table of another kind is told by a
        key ``table``. It runs after every unit.
    answer : callable
        Takes the rows; returns one sentence with its figure, short enough for a title.
    details : callable
        Takes the rows; returns what else they say, in sentences. None are needed.
    """

    name: str
    question: str
    defaults: Mapping
    units: Callable[["Bench"], list[dict]]
    measure: Callable[["Bench", dict], Iterator[float]]
    rows: Callable[[list[dict], dict], list[dict]]
    answer: Callable[[list[dict]], str]
    details: Callable[[list[dict]], str] = lambda rows: ""

    @property
    def trains(self) -> bool:
        """Whether models are trained, so that two units at once take about as long as one."""
        return "steps" in self.defaults

    def settings(self, changes: Mapping) -> dict:
        """Return the study's own settings: the defaults, and what is to be otherwise.

        Raises
        ------
        AdaRankError
            If one is unknown, or of another kind than its default.

        Examples
        --------
        >>> study = Study("mine", "Why?", {"repeats": 3}, *[None] * 4)
        >>> study.settings({"repeats": 5})
        {'repeats': 5}
        """
        for name, value in changes.items():
            if name not in self.defaults:
                known = ", ".join(map(repr, self.defaults)) or "none"
                raise AdaRankError(
                    f"the study {self.name!r} has no setting {quoted(name)}; it has {known}"
                )
            _check_like(name, value, self.defaults[name])
        return {**self.defaults, **changes}


def _check_like(name: str, value, default) -> None:
    """Refuse a value that is of another kind than the default."""
    if isinstance(default, list):
        if not isinstance(value, list) or not value:
            raise AdaRankError(
                f"{name} is {quoted(value)}; give a list, such as {quoted(list(default))}"
            )
        if len(value) > MOST_UNITS:
            raise AdaRankError(f"{name} has {len(value):,} entries; give at most {MOST_UNITS:,}")
        for item in value:
            _check_like(f"an entry of {name}", item, default[0])
    elif isinstance(default, str):
        if not isinstance(value, str) or not value.strip():
            raise AdaRankError(f"{name} is {quoted(value)}; give a word, such as {default!r}")
    elif isinstance(default, int):
        most = MOST_UNITS if name in COUNTED else 10**9
        if not is_whole(value, 1, most):
            raise AdaRankError(
                f"{name} is {quoted(value)}; it must be a whole number from 1 to {most:,}"
            )
    elif not is_number(value, above=0):
        raise AdaRankError(f"{name} is {quoted(value)}; it must be a number above 0")


@dataclass(frozen=True)
class StudyRequest:
    """What is asked for: a study, what it is done with, and its own settings.

    Parameters
    ----------
    study : Study
    model, task : str
        Names for `load_model` and `load_task`.
    seed : int
        Draws texts, noise and heads.
    device, dtype : str
        As `load_model` takes them.
    settings : mapping
        Those of the study's own that are to be other than its defaults.

    Raises
    ------
    AdaRankError
        If a value is not right.

    Examples
    --------
    >>> study = Study("mine", "Why?", {"repeats": 3}, *[None] * 4)
    >>> StudyRequest(study, seed=1).to_dict()["settings"]
    {'model': 'embedded', 'task': 'docstrings', 'seed': 1, 'repeats': 3}
    """

    study: Study
    model: str = "embedded"
    task: str = "docstrings"
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    settings: Mapping = field(default_factory=dict)

    def __post_init__(self):
        if not is_whole(self.seed, 0, 2**32 - 1):
            raise AdaRankError(f"the seed is {quoted(self.seed)}; it must be from 0 to {2**32 - 1}")
        check_model_name(self.model)
        check_device(self.device)
        check_dtype(self.dtype)
        object.__setattr__(self, "settings", self.study.settings(self.settings))
        check_limit("seeds", self.settings.get("seeds", 1))

    def to_dict(self) -> dict:
        """Return what was asked for, as results say it and digests are made of."""
        return {
            "study": self.study.name,
            "settings": {
                "model": self.model,
                "task": self.task,
                "seed": self.seed,
                **{key: value for key, value in self._placed().items() if value != "auto"},
                **self.settings,
            },
        }

    def _placed(self) -> dict:
        return {"device": self.device, "dtype": self.dtype}

    def arguments(self) -> list[str]:
        """Return the words after ``python -m adarank_core`` that ask for this, but for its output.

        Examples
        --------
        >>> study = Study("mine", "Why?", {"repeats": 3}, *[None] * 4)
        >>> StudyRequest(study, seed=1, settings={"repeats": 7}).arguments()
        ['lab', 'mine', '--model=embedded', '--task=docstrings', '--seed=1', '--set=repeats=7']
        """
        asked = {"model": self.model, "task": self.task, "seed": self.seed}
        asked |= {name: value for name, value in self._placed().items() if value != "auto"}
        changed = {
            name: f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
            for name, value in self.settings.items()
            if value != self.study.defaults[name]
        }
        return [
            *("lab", self.study.name),
            *(f"--{name}={value}" for name, value in asked.items()),
            *(f"--set={name}={value}" for name, value in changed.items()),
        ]

    def config(self) -> dict:
        """Return what a run keeps as ``config.json``, without versions."""
        own = {"study_settings": dict(self.settings)}
        about = {"model": self.model, "task": self.task, "seed": self.seed, **self._placed()}
        return {"command": "lab", "study": self.study.name, **about, **own}


@dataclass(frozen=True)
class StudyResult:
    """What a study has come to so far.

    Parameters
    ----------
    study : str
    settings, versions : dict
    rows : sequence of dict
        Flat objects.
    answer : str
        One sentence; empty as long as not all is measured.
    details : str
        What else the rows say, in sentences; may be empty.

    Examples
    --------
    >>> result = StudyResult("mine", {"seed": 0}, {}, ({"x": 1, "y": 0.5},), "It is a half (0.5).")
    >>> StudyResult.from_dict(result.to_dict()) == result
    True
    """

    study: str
    settings: dict
    versions: dict
    rows: Sequence[dict]
    answer: str = ""
    details: str = ""

    def to_dict(self) -> dict:
        """Return the ``adarank-study/1`` dictionary."""
        return {"format": FORMAT, **asdict(replace(self, rows=list(self.rows)))}

    @classmethod
    def from_dict(cls, data: dict) -> "StudyResult":
        """Build a result from an ``adarank-study/1`` dictionary, checking every value.

        Raises
        ------
        AdaRankError
            If the format tag, a key, a type or a number is not right.
        """
        check_format(data, FORMAT, "study")
        validated(data, _StudyFile, "the study")
        known = ("study", "settings", "versions", "answer")
        told = {key: data[key] for key in known}
        return cls(**told, rows=tuple(data["rows"]), details=data.get("details", ""))


@dataclass(frozen=True)
class StudyProgress:
    """How far a study is.

    Parameters
    ----------
    done : float
        Units measured, and the share of the one at work.
    total : int
        Units in all; 0 as long as that is not known.
    now : str
        What is being done, for people.
    result : StudyResult or None
        After each unit: what all that is measured comes to. The last one has the answer.
    """

    done: float
    total: int
    now: str
    result: StudyResult | None = None
