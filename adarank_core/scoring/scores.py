"""What scoring gives: one number a module, with its standard error, to JSON and back.

Kept apart from ``score.py`` so that stored scores can be read and drawn without torch.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Annotated, Literal, NotRequired

from annotated_types import Ge, Interval, MinLen
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.schemas import STRICT, FailFast, Name, Text, check_format, validated

__all__ = ["ModuleScore", "Scores", "Seed", "TextsEntry", "origin_of"]

FORMAT = "adarank-scores/1"
MOST_KINDS = 8  # in a sentence
Size = Annotated[int, Interval(ge=1, lt=2**31)]
Number = Annotated[float, Ge(0)]
Seed = Annotated[int, Interval(ge=-(2**63), lt=2**64)]


class _ModuleEntry(TypedDict):
    __pydantic_config__ = STRICT
    name: Name
    layer: Annotated[int, Interval(ge=0, lt=2**31)]
    family: Name
    in_features: Size
    out_features: Size
    score: Number
    standard_error: Number


class TextsEntry(TypedDict, total=False):
    """What scores and plans tell of their texts; the type that files are checked against."""

    __pydantic_config__ = STRICT
    source: Text
    count: Annotated[int, Ge(0)]
    sha256: Text


class _ScoresFile(TypedDict):
    __pydantic_config__ = STRICT
    model: Name
    mode: Text
    estimator: Text
    noise_scale: Number
    seed: Seed
    texts: TextsEntry
    modules: Annotated[list[_ModuleEntry], MinLen(1), FailFast()]
    trials: NotRequired[Annotated[int, Ge(1)] | None]
    logits: NotRequired[Literal["last", "all"]]
    task_type: NotRequired[Literal["SEQ_CLS", "CAUSAL_LM"]]
    head_draw: NotRequired[Literal["expected", "seed", "trained"] | None]
    noise: NotRequired[Text]
    not_scored: NotRequired[Annotated[list[Name], MinLen(1), FailFast()]]


@dataclass(frozen=True)
class ModuleScore:
    """The score of one adaptable module.

    Parameters
    ----------
    name : str
        Full path of the module in the model, as ``model.named_modules()`` gives it.
    layer : int
        Position of its block, counted from the input, from 0.
    family : str
        What the module does in its block, such as ``"query"``; equal over layers.
    in_features, out_features : int
        Sizes of the module's input and output.
    score : float
        Disagreement ``d_m``: mean over texts of the L1 distance of two noisy models' logits.
    standard_error : float
        Standard error of ``score``, in the same unit.
    """

    name: str
    layer: int
    family: str
    in_features: int
    out_features: int
    score: float
    standard_error: float


@dataclass(frozen=True)
class Scores:
    """Scores of all modules of a model, and all that is needed to compute them again.

    Parameters
    ----------
    model : str
        The model's name, as given to `load_model`.
    mode, estimator : str
        ``"paper"`` and ``"paired"`` or ``"fast"`` for disagreement; see `score`.
    noise_scale : float
        Standard deviation of the noise over the standard deviation of the module's weight.
    seed : int
        Seed of the noise and of the classification head.
    texts : dict
        ``source`` (str), ``count`` (int) and ``sha256`` (str) of the texts.
    modules : tuple of ModuleScore
        In the order of the model.
    trials : int, optional
        Pairs or instances of noisy models a module; None where it is not known or has no meaning.
    logits : {"last", "all"}
        At which tokens a causal model's logits were compared; written only where it is ``"all"``.
    task_type : str
        PEFT's name for the head that was scored, ``"SEQ_CLS"`` or ``"CAUSAL_LM"``; written only
        where it is not the former.
    head_draw : {"expected", "seed", "trained"}, optional
        Whose head it was: the expectation over random ones, the seed's, or the checkpoint's own.
        None where it is not known or no head was looked at.
    noise : str
        As in `ScoringOptions`; written only where it is not ``"gaussian"``.
    not_scored : tuple of str
        Weights inside the model's blocks that are no linear module's, such as experts held as
        one parameter: LoRA on modules does not reach them. Written only where there are any.

    Examples
    --------
    >>> module = ModuleScore("block.0.query", 0, "query", 8, 8, 0.5, 0.1)
    >>> texts = {"source": "list", "count": 1, "sha256": "00"}
    >>> scores = Scores("tiny", "paper", "paired", 1.0, 0, texts, (module,))
    >>> Scores.from_dict(scores.to_dict()) == scores
    True
    """

    model: str
    mode: str
    estimator: str
    noise_scale: float
    seed: int
    texts: dict
    modules: tuple[ModuleScore, ...]
    trials: int | None = None
    logits: str = "last"
    task_type: str = "SEQ_CLS"
    head_draw: str | None = None
    noise: str = "gaussian"
    not_scored: tuple[str, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal digest of the canonical JSON of these scores."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    @property
    def families(self) -> tuple[str, ...]:
        """Module families in the order in which data flows through a block."""
        return tuple(dict.fromkeys(module.family for module in self.modules))

    @property
    def not_scored_note(self) -> str:
        """What was not scored, in a sentence; weights that are alike over layers count together.

        Empty where all was scored.

        Examples
        --------
        >>> names = ("layers.0.experts.up", "layers.1.experts.up", "layers.1.router")
        >>> Scores("tiny", "paper", "fast", 1.0, 0, {}, (), not_scored=names).not_scored_note
        '2 × experts.up, 1 × router: weights of no linear module, which are not scored'
        """
        if not self.not_scored:
            return ""
        kinds = Counter(re.split(r"\.\d+\.", name)[-1] for name in self.not_scored)
        named = [f"{count:,} × {kind}" for kind, count in kinds.most_common()]
        more = [f"{len(named) - MOST_KINDS} other kinds"] if len(named) > MOST_KINDS else []
        kinds = ", ".join(named[:MOST_KINDS] + more)
        return f"{kinds}: weights of no linear module, which are not scored"

    def to_dict(self) -> dict:
        """Return the ``adarank-scores/1`` dictionary."""
        return {
            "format": FORMAT,
            "model": self.model,
            "mode": self.mode,
            "estimator": self.estimator,
            "noise_scale": self.noise_scale,
            "seed": self.seed,
            "texts": dict(self.texts),
            **({} if self.trials is None else {"trials": self.trials}),
            **({} if self.logits == "last" else {"logits": self.logits}),
            **({} if self.task_type == "SEQ_CLS" else {"task_type": self.task_type}),
            **({} if self.head_draw is None else {"head_draw": self.head_draw}),
            **({} if self.noise == "gaussian" else {"noise": self.noise}),
            **({"not_scored": list(self.not_scored)} if self.not_scored else {}),
            "modules": [asdict(module) for module in self.modules],
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Scores":
        """Build `Scores` from an ``adarank-scores/1`` dictionary, checking every value.

        Raises
        ------
        AdaRankError
            If the format tag, a key, a type or a number is not right.
        """
        check_format(data, FORMAT, "scores")
        validated(data, _ScoresFile, "the scores")
        names = Counter(module["name"] for module in data["modules"])
        twice = next((name for name, count in names.items() if count > 1), None)
        if twice is not None:
            raise AdaRankError(f"the scores name the module {twice!r} twice; each may stand once")
        keys = [field.name for field in fields(ModuleScore)]
        modules = tuple(ModuleScore(*map(entry.get, keys)) for entry in data["modules"])
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        not_scored = tuple(data.get("not_scored", ()))
        return cls(**{**known, "modules": modules, "not_scored": not_scored})


def origin_of(texts: Texts) -> dict:
    """Return what scores say of their texts.

    Examples
    --------
    >>> origin_of(Texts("mine", ("One text.", "Another.")))["count"]
    2
    """
    return {"source": texts.source, "count": len(texts), "sha256": texts.sha256}
