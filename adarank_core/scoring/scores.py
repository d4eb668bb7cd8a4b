"""What scoring gives: one number a module, with its standard error, to JSON and back.

Kept apart from ``score.py`` so that stored scores can be read and drawn without torch.
"""

import hashlib
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass, fields

from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError
from adarank_core.files import check_format, check_keys

__all__ = ["ModuleScore", "Scores", "origin_of"]

FORMAT = "adarank-scores/1"


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

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of the canonical JSON of these scores."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode("utf-8")).hexdigest()

    @property
    def families(self) -> tuple[str, ...]:
        """Module families in the order in which data flows through a block."""
        return tuple(dict.fromkeys(module.family for module in self.modules))

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
        keys = ("model", "mode", "estimator", "noise_scale", "seed", "texts", "modules")
        check_keys(data, keys, "the scores")
        if not isinstance(data["modules"], list) or not data["modules"]:
            raise AdaRankError("the scores list no modules; there must be at least one")
        modules = tuple(_module_from(entry, at) for at, entry in enumerate(data["modules"]))
        names = [module.name for module in modules]
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise AdaRankError(f"the scores name the module {twice!r} twice; each may stand once")
        if not isinstance(data["texts"], dict):
            raise AdaRankError(f"'texts' of the scores is {data['texts']!r}; it must be an object")
        if data.get("task_type", "SEQ_CLS") not in ("SEQ_CLS", "CAUSAL_LM"):
            raise AdaRankError(
                f"'task_type' of the scores is {data['task_type']!r}; it must be 'SEQ_CLS' or "
                "'CAUSAL_LM'"
            )
        values = {key: data[key] for key in keys if key != "modules"}
        return cls(
            **values,
            modules=modules,
            trials=data.get("trials"),
            logits=data.get("logits", "last"),
            task_type=data.get("task_type", "SEQ_CLS"),
        )


def origin_of(texts: Texts) -> dict:
    """Return what scores say of their texts.

    Examples
    --------
    >>> origin_of(Texts("mine", ("One text.", "Another.")))["count"]
    2
    """
    return {"source": texts.source, "count": len(texts), "sha256": texts.sha256}


_KINDS = {"name": str, "layer": int, "family": str, "in_features": int, "out_features": int}


def _module_from(entry, position: int) -> ModuleScore:
    what = f"module {position + 1} of the scores"
    if not isinstance(entry, dict):
        raise AdaRankError(f"{what} is {entry!r}; it must be an object")
    names = [field.name for field in fields(ModuleScore)]
    check_keys(entry, names, what)
    for key, kind in _KINDS.items():
        if type(entry[key]) is not kind:
            raise AdaRankError(f"{key!r} of {what} is {entry[key]!r}; it must be {kind.__name__}")
    for key in ("in_features", "out_features"):
        if entry[key] < 1:
            raise AdaRankError(f"{key!r} of {what} is {entry[key]}; it must be at least 1")
    for key in ("score", "standard_error"):
        value = entry[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= sys.float_info.max:
            raise AdaRankError(
                f"{key!r} of {what} is {value!r}; it must be a finite number of 0 or more"
            )
    return ModuleScore(**{name: entry[name] for name in names})
