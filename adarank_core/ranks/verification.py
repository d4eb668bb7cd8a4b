"""Does an adapter have the ranks and scalings of its plan? In memory, as PEFT built it, or on disk.

What a configuration says is not always what PEFT makes of it: patterns may fit other modules than
were meant, and for some mixtures of experts PEFT moves LoRA from the named modules to the fused
experts. So ranks are read off the built model, or off the saved tensors.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from adarank_core.errors import AdaRankError
from adarank_core.files import read_json
from adarank_core.ranks.plan_files import (
    CONFIG,
    adapted_names,
    adapter_folder,
    beside_ranks,
    checked_adapter,
    plan_of_adapter,
    values_by_name,
)
from adarank_core.ranks.plans import RankPlan

__all__ = [
    "AdapterLayer",
    "Verification",
    "check_built_adapter",
    "layers_of_model",
    "verify",
]

WEIGHTS = "adapter_model.safetensors"
TENSOR = re.compile(
    r"(?:base_model\.model\.)?(.+)\.lora_(?:embedding_)?([AB])(?:\.(?!bias$)\w+)??(?:\.weight)?$"
)
MOST_NAMED = 3  # modules in a sentence


@dataclass(frozen=True)
class AdapterLayer:
    """LoRA on one module.

    Parameters
    ----------
    rank : int
    scaling : float
        What ``B A`` is multiplied by.
    """

    rank: int
    scaling: float


@dataclass(frozen=True)
class Verification:
    """A plan and an adapter, module by module.

    Parameters
    ----------
    planned, found : dict of str to AdapterLayer
        By the module's full name; modules without LoRA are in neither.
    notes : tuple of str
        What the adapter has beside ranks and scalings, and what servers would make of it: a
        sentence each.
    unusable : tuple of str
        Modules whose tensors PEFT would not load, or not into this adapter: the configuration
        gives them another rank or does not adapt them, or ``A`` and ``B`` do not fit together.

    Examples
    --------
    >>> layer = AdapterLayer(4, 2.0)
    >>> checked = Verification({"query": layer, "key": layer}, {"query": AdapterLayer(8, 2.0)})
    >>> checked.is_the_plan, checked.missing, checked.different
    (False, ('key',), ('query',))
    """

    planned: dict[str, AdapterLayer]
    found: dict[str, AdapterLayer]
    notes: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Modules of the plan that the adapter does not adapt."""
        return tuple(name for name in self.planned if name not in self.found)

    @property
    def unplanned(self) -> tuple[str, ...]:
        """Modules that the adapter adapts and the plan does not name."""
        return tuple(name for name in self.found if name not in self.planned)

    @property
    def different(self) -> tuple[str, ...]:
        """Modules that have another rank or scaling than planned."""
        return tuple(
            name
            for name, layer in self.planned.items()
            if name in self.found and not _equal(layer, self.found[name])
        )

    @property
    def is_the_plan(self) -> bool:
        """Whether every module has its planned rank and scaling, and no other has LoRA."""
        return not (self.missing or self.unplanned or self.different or self.unusable)

    def to_dict(self) -> dict:
        """Return a dictionary for JSON, one entry a module."""
        names = dict.fromkeys([*self.planned, *self.found])
        return {
            "is_the_plan": self.is_the_plan,
            "modules": [
                {
                    "name": name,
                    "planned": _as_dict(self.planned.get(name)),
                    "found": _as_dict(self.found.get(name)),
                }
                for name in names
            ],
            "missing": list(self.missing),
            "unplanned": list(self.unplanned),
            "different": list(self.different),
            "unusable": list(self.unusable),
            "notes": list(self.notes),
        }

    def sentence(self) -> str:
        """Say how the adapter differs from the plan, naming a few modules.

        Examples
        --------
        >>> layer = AdapterLayer(4, 2.0)
        >>> Verification({"query": layer}, {"query": layer}).sentence()
        'every one of 1 planned modules has its rank and scaling'
        >>> Verification({"query": layer}, {"key": layer}).sentence()
        "1 of 1 planned modules has no LoRA ('query'); 1 unplanned has ('key')"
        """
        count = len(self.planned)
        if self.is_the_plan:
            return f"every one of {count} planned modules has its rank and scaling"
        parts = []
        if self.missing:
            has = "has" if len(self.missing) == 1 else "have"
            missing = f"{len(self.missing)} of {count} planned modules {has} no LoRA"
            parts.append(f"{missing} ({_named(self.missing)})")
        if self.unplanned:
            has = "has" if len(self.unplanned) == 1 else "have"
            parts.append(f"{len(self.unplanned)} unplanned {has} ({_named(self.unplanned)})")
        if self.different:
            first = self.different[0]
            parts.append(
                f"{len(self.different)} of {count} differ, such as {first!r}: "
                f"{_words(self.found[first])} in place of {_words(self.planned[first])}"
            )
        if self.unusable:
            parts.append(
                f"{len(self.unusable)} of {len(self.found)} adapted modules have tensors that PEFT "
                f"does not load with this configuration ({_named(self.unusable)})"
            )
        return "; ".join(parts)


def layers_of_plan(plan: RankPlan) -> dict[str, AdapterLayer]:
    """Return what a plan asks for.

    Examples
    --------
    >>> layers_of_plan(RankPlan("tiny", {"query": 4, "key": 0}, {"query": 8, "key": 0}))
    {'query': AdapterLayer(rank=4, scaling=2.0)}
    """
    return {name: AdapterLayer(plan.ranks[name], scaling) for name, scaling in plan.scaling.items()}


def layers_of_model(model, adapter: str = "default") -> dict[str, AdapterLayer]:
    """Return what PEFT has built.

    Parameters
    ----------
    model : peft.PeftModel
    adapter : str

    Returns
    -------
    dict of str to AdapterLayer
        By the module's name in the base model; LoRA on a parameter that is no module (fused
        experts) by the parameter's.

    Examples
    --------
    >>> from torch import nn
    >>> layers_of_model(nn.Linear(2, 2))
    {}
    """
    from peft.tuners.lora.layer import LoraLayer

    found = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and adapter in module.scaling:
            name = name.removeprefix("base_model.model.")
            parameter = getattr(module, "parameter_name", None)
            if parameter is not None:
                name = f"{name.replace('.base_layer', '')}.{parameter}"
            rank, scaling = module.r[adapter], module.scaling[adapter]
            found[name] = AdapterLayer(rank, float(scaling))
    return found


def check_built_adapter(plan: RankPlan, model) -> None:
    """Raise `AdaRankError` unless PEFT adapted exactly the plan's modules, as planned.

    Parameters
    ----------
    plan : RankPlan
    model : peft.PeftModel

    Examples
    --------
    >>> from torch import nn
    >>> plan = RankPlan("tiny", {"query": 4}, {"query": 8})
    >>> check_built_adapter(plan, nn.Linear(2, 2))
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: PEFT does not build this plan for this model: 1 of 1 \
planned modules has no LoRA ('query'); exclude such modules, or use another model
    """
    checked = Verification(layers_of_plan(plan), layers_of_model(model))
    if not checked.is_the_plan:
        raise AdaRankError(
            f"PEFT does not build this plan for this model: {checked.sentence()}; exclude such "
            "modules, or use another model"
        )


def verify(adapter: str | Path, plan: RankPlan) -> Verification:
    """Hold an adapter on disk against a plan.

    Parameters
    ----------
    adapter : str or pathlib.Path
        A folder with ``adapter_config.json``, trained or only exported, or that of a run with one
        adapter in it. Ranks are those of the tensors in ``adapter_model.safetensors``, of which
        shapes alone are read, and where there is none those that the configuration gives the
        modules it names.
    plan : RankPlan

    Returns
    -------
    Verification

    Raises
    ------
    AdaRankError
        If this is no LoRA adapter, or a file of it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from adarank_core.ranks.export import export
    >>> plan, folder = RankPlan("tiny", {"query": 4}, {"query": 8}), tempfile.mkdtemp()
    >>> _ = export(plan, folder)
    >>> verify(folder, plan).is_the_plan
    True
    """
    adapter = adapter_folder(adapter)
    config = checked_adapter(read_json(adapter / CONFIG))
    unusable = ()
    if (adapter / WEIGHTS).exists():
        found, unusable = _layers_on_disk(adapter / WEIGHTS, config)
    else:
        found = _layers_of_config(config, plan)
    checked = Verification(layers_of_plan(plan), found, unusable=unusable)
    return replace(checked, notes=tuple(_notes(adapter, config, checked)))


def _layers_of_config(config: dict, plan: RankPlan) -> dict[str, AdapterLayer]:
    """Return what a configuration without weights gives the modules that it names."""
    remedy = "save the adapter with its weights, whose tensors name them"
    for key in ("target_parameters", "layer_replication"):
        if config.get(key):
            raise AdaRankError(
                f"the adapter has {key}, which adapts modules it does not name; {remedy}"
            )
    found = layers_of_plan(plan_of_adapter(config, remedy=remedy))
    for name in found:
        if name not in plan.ranks and any(full.endswith(f".{name}") for full in plan.ranks):
            raise AdaRankError(
                f"target_modules of the adapter holds {name!r}, an ending of modules' names; "
                f"{remedy}"
            )
    return found


def _layers_on_disk(path: Path, config: dict) -> tuple[dict[str, AdapterLayer], tuple[str, ...]]:
    """Return what the tensors are, and the modules of which PEFT would not load them."""
    ranks, columns = _ranks_on_disk(path)
    names = list(ranks)
    alphas, _ = values_by_name(config.get("alpha_pattern") or {}, names, "alpha_pattern")
    said, _ = values_by_name(config.get("rank_pattern") or {}, names, "rank_pattern")
    adapted = set(names)
    # The names of these are not those of modules.
    if not any(config.get(key) for key in ("target_parameters", "layer_replication")):
        adapted = set(adapted_names(config, names)) if config.get("target_modules") else set()
    found, unusable = {}, []
    for name, rank in ranks.items():
        alpha = alphas.get(name, config.get("lora_alpha", 8))
        if rank < 1:
            raise AdaRankError(f"the adapter gives {name!r} the rank {rank}; it must be above 0")
        scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        found[name] = AdapterLayer(rank, scaling)
        fits = rank == columns.get(name) == said.get(name, config.get("r", 8))
        if not fits or name not in adapted:
            unusable.append(name)
    return found, tuple(unusable)


def _ranks_on_disk(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return the rows of each module's A and the columns of its B, reading shapes alone."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():  # a pipe would be waited for
        raise AdaRankError(f"{str(path)!r} cannot be read; give a plain file")
    found: dict[str, dict[str, int]] = {"A": {}, "B": {}}
    try:
        with safe_open(path, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - it is no dictionary
                match = TENSOR.match(key)
                shape = tensors.get_slice(key).get_shape() if match else ()
                if match and len(shape) < 2:
                    raise AdaRankError(
                        f"the adapter's {key!r} has the shape {tuple(shape)}; LoRA's matrices have "
                        "two dimensions"
                    )
                if match:
                    name, half = match.groups()
                    found[half][name] = shape["AB".index(half)]
    except (OSError, SafetensorError) as error:
        raise AdaRankError(f"{str(path)!r} cannot be read as safetensors ({error})") from None
    return found["A"], found["B"]


def _notes(adapter: Path, config: dict, checked: Verification) -> list[str]:
    """Say what else is to be known of an adapter."""
    notes = []
    if not (adapter / WEIGHTS).exists():
        notes.append("it has no weights; this is what its configuration says")
    beside = [
        f"it has {what}, which no plan holds and a server that reads only r and lora_alpha loses"
        for what in beside_ranks(config)
    ]
    notes += beside
    if _looks_portable(checked):
        notes.append(
            "this is how a portable export looks, which cannot be held against ranks: all its "
            "modules are padded to one; verify the adapter that it was made from"
        )
    wrong = _read_wrongly(config, checked.found)
    if wrong:
        notes.append(wrong if beside else f"{wrong}; give it what export --adapter writes")
    elif checked.found and checked.is_the_plan and not beside:
        notes.append("a server that reads only one r and lora_alpha reads it right")
    return notes


def _looks_portable(checked: Verification) -> bool:
    """Whether all modules have one rank, as high as any planned, and the scaling 1."""
    if checked.missing or checked.unplanned or checked.unusable or not checked.different:
        return False
    most = max(layer.rank for layer in checked.planned.values())
    one = next(iter(checked.found.values()))
    return one.rank >= most and all(
        _equal(layer, AdapterLayer(one.rank, 1.0)) for layer in checked.found.values()
    )


def _read_wrongly(config: dict, found: Mapping[str, AdapterLayer]) -> str:
    """Say what a server makes of it that scales all by ``lora_alpha / r``; nothing if right."""
    rank, alpha = config.get("r", 8), config.get("lora_alpha", 8)
    other_rank = sum(layer.rank != rank for layer in found.values())
    off = [
        layer.scaling
        for layer in found.values()
        if not math.isclose(layer.scaling, alpha / rank, rel_tol=1e-6)
    ]
    said = []
    if other_rank:
        said.append(f"expect another rank of {other_rank} of {len(found)} modules")
    if off:
        ratios = [scaling * rank / alpha for scaling in off if scaling and alpha]
        most = max((max(ratio, 1 / ratio) for ratio in ratios), default=None)
        said.append(f"scale {len(off)} of {len(found)} modules wrongly")
        said[-1] += "" if most is None else f", by up to {most:.3g}×"
    server = f"a server that reads only r {rank} and lora_alpha {alpha:g} would"
    return f"{server} {' and '.join(said)}" if said else ""


def _equal(one: AdapterLayer, other: AdapterLayer) -> bool:
    return one.rank == other.rank and math.isclose(one.scaling, other.scaling, rel_tol=1e-6)


def _words(layer: AdapterLayer) -> str:
    return f"rank {layer.rank} and scaling {layer.scaling:.3g}"


def _named(names: tuple[str, ...]) -> str:
    named = ", ".join(map(repr, names[:MOST_NAMED]))
    return named if len(names) <= MOST_NAMED else f"{named}, …"


def _as_dict(layer: AdapterLayer | None) -> dict | None:
    return None if layer is None else asdict(layer)
