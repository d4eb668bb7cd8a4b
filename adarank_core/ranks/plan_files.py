"""Plans read from files: a ``ranks.json``, or anybody's ``adapter_config.json``."""

import re
from collections.abc import Sequence
from pathlib import Path

from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import read_json
from adarank_core.patterns import check_pattern, matching_names
from adarank_core.ranks.plans import RankPlan, check_alpha, check_rank

__all__ = ["adapter_patterns", "read_plan"]

MOST_MODULES = 1_000_000
WITH_HEAD = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")
# What an adapter may have beside ranks and scalings, and the values that mean that it has not.
BESIDE = {
    "use_dora": "DoRA",
    "lora_bias": "a bias in B",
    "bias": "trained biases",
    "target_parameters": "LoRA on parameters that are no modules",
    "layer_replication": "replicated layers",
    "trainable_token_indices": "trained tokens",
    "modules_to_save": "modules trained whole",
}
NOTHING = (None, False, "none", [], {})


def read_plan(path: str | Path, modules: Sequence[str] | None = None) -> RankPlan:
    """Read a plan from a ``ranks.json``, or from a LoRA adapter's ``adapter_config.json``.

    Parameters
    ----------
    path : str or pathlib.Path
    modules : sequence of str, optional
        Full names of the model's modules. A plan that names others is refused. An adapter's
        ``target_modules`` and patterns may be endings of names or regular expressions: they are
        resolved over these names as PEFT does. Without them, the names in ``target_modules`` are
        taken to be the modules.

    Returns
    -------
    RankPlan

    Raises
    ------
    AdaRankError
        If the file is neither, or a value in it is not right, or it is another model's.

    Examples
    --------
    >>> import tempfile
    >>> from adarank_core.ranks.export import export
    >>> plan = RankPlan("tiny", {"0.query": 4, "0.key": 2}, {"0.query": 8, "0.key": 4})
    >>> ranks_file, adapter_file, *_ = export(plan, tempfile.mkdtemp())
    >>> read_plan(ranks_file) == plan
    True
    >>> read_plan(adapter_file, ["0.key", "0.query", "0.value"]).ranks
    {'0.key': 2, '0.query': 4}
    """
    data = read_json(path)
    if isinstance(data, dict) and "format" not in data and "peft_type" in data:
        return _plan_of_adapter(data, modules)
    plan = RankPlan.from_dict(data)
    if modules is not None:
        known = set(modules)
        for name in plan.ranks:
            if name not in known:
                raise AdaRankError(
                    f"the ranks name {name!r}, which is none of the model's {len(known)} modules; "
                    f"use ranks made for this model (these are for {plan.model!r})"
                )
    return plan


def adapter_patterns(data: dict) -> dict[str, dict]:
    """Return an adapter's ``rank_pattern`` and ``alpha_pattern``, checked but for their values.

    Raises
    ------
    AdaRankError
        If one is no object, or a pattern in it cannot be read.

    Examples
    --------
    >>> adapter_patterns({"rank_pattern": {"query": 4}})
    {'rank_pattern': {'query': 4}, 'alpha_pattern': {}}
    """
    patterns = {}
    for key in ("rank_pattern", "alpha_pattern"):
        patterns[key] = data.get(key) or {}
        if not isinstance(patterns[key], dict):
            raise AdaRankError(f"{key!r} of the adapter is {data[key]!r}; it must be an object")
        for pattern in patterns[key]:
            if _literal(pattern) is None:
                check_pattern(pattern, f"a key of the adapter's {key}")
    return patterns


def _plan_of_adapter(data: dict, modules: Sequence[str] | None) -> RankPlan:
    if data["peft_type"] != "LORA":
        raise AdaRankError(
            f"this adapter's peft_type is {data['peft_type']!r}; ranks can be read from 'LORA' only"
        )
    _refuse_what_no_plan_holds(data, modules)
    patterns = adapter_patterns(data)
    names = _target_modules(data, modules)
    found, unused = _values_by_name(patterns["rank_pattern"], names, "rank_pattern")
    if unused is not None:
        raise AdaRankError(
            f"rank_pattern names {unused!r}, which fits none of the "
            + (
                "names in target_modules; give the model"
                if modules is None
                else f"{len(names)} modules that the adapter adapts in this model"
            )
        )
    alphas, _ = _values_by_name(patterns["alpha_pattern"], names, "alpha_pattern")
    ranks = {name: found.get(name, data.get("r", 8)) for name in names}
    alpha = {name: alphas.get(name, data.get("lora_alpha", 8)) for name in names}
    for name in names:
        check_rank(name, ranks[name], 1)
        check_alpha(name, alpha[name])
    total = sum(ranks.values())
    budget = {"by": "rank", "requested": total, "spent": total, "residual": 0}
    budget |= {"average_rank": total / len(ranks), "rounding": "none"}
    budget["alpha_policy"] = "rslora" if data.get("use_rslora") else "proportional"
    if not data.get("use_rslora") and len(set(alpha.values())) == 1 < len(set(ranks.values())):
        budget["alpha_policy"] = "constant"
    model = str(data.get("base_model_name_or_path") or "unknown")
    return RankPlan(model, ranks, alpha, budget, task_type=data.get("task_type"))


def _refuse_what_no_plan_holds(data: dict, modules: Sequence[str] | None) -> None:
    """Refuse an adapter that is more than ranks and scalings: none of it may be lost silently."""
    for key, what in BESIDE.items():
        value = data.get(key)
        a_head = key == "modules_to_save" and data.get("task_type") in WITH_HEAD
        if not a_head and not any(value is none or value == none for none in NOTHING):
            raise AdaRankError(
                f"the adapter has {what} ({key} is {quoted(value)}), which a plan of ranks cannot "
                "hold; take it out of the file if it is not needed"
            )
    for key in ("exclude_modules", "layers_to_transform"):
        if modules is None and data.get(key) not in (None, [], ""):
            raise AdaRankError(
                f"the adapter's {key} is {quoted(data[key])}, which leaves out some of the model's "
                "modules; give the model"
            )


def _target_modules(data: dict, modules: Sequence[str] | None) -> list[str]:
    """Name the modules that an adapter adapts."""
    targets = data.get("target_modules")
    if not targets or not _is_names(targets):
        raise AdaRankError(
            f"target_modules of the adapter is {quoted(targets)}; it must name the adapted modules"
        )
    if modules is None:
        if isinstance(targets, str):
            raise AdaRankError(
                f"target_modules of the adapter is the pattern {targets!r}; give the model whose "
                "modules it means"
            )
        return list(dict.fromkeys(targets))
    fitting = set(modules)
    if targets != "all-linear":
        fitting = set(_fitting(targets, modules, "target_modules"))
    if excluded := data.get("exclude_modules"):
        if not _is_names(excluded):
            raise AdaRankError(
                f"exclude_modules of the adapter is {quoted(excluded)}; it must name modules"
            )
        fitting -= set(_fitting(excluded, modules, "exclude_modules"))
    named = set() if isinstance(targets, str) else set(targets)
    layers = _layers(data)
    names = [
        name
        for name in modules
        if name in fitting and (layers is None or name in named or _layer(data, name) in layers)
    ]
    if not names:
        raise AdaRankError(
            f"the adapter adapts none of the model's {len(modules)} modules; it is for "
            f"{data.get('base_model_name_or_path')!r}"
        )
    return names


def _is_names(value) -> bool:
    listed = isinstance(value, list) and len(value) <= MOST_MODULES
    return isinstance(value, str) or (listed and all(isinstance(name, str) for name in value))


def _fitting(wanted: str | list[str], names: Sequence[str], what: str) -> list[str]:
    """Return the names that an expression matches whole, or that end in one of a list's names."""
    if isinstance(wanted, str):
        return matching_names(wanted, names, f"the adapter's {what}", whole=True)
    endings = _by_ending(names)
    fitting = {ending: endings.get(ending, []) for ending in wanted}
    lost = next((ending for ending, found in fitting.items() if not found), None)
    if lost is not None and any(fitting.values()):
        raise AdaRankError(
            f"{what} of the adapter names {lost!r}, which is none of the {len(names)} modules that "
            "can have a rank in this model; take it out of the file if it is not needed"
        )
    return [name for found in fitting.values() for name in found]


def _layers(data: dict) -> set[int] | None:
    """Return the numbers of the layers that an adapter is kept to, or None."""
    layers = data.get("layers_to_transform")
    if layers in (None, []):
        return None
    listed = layers if isinstance(layers, list) else [layers]
    if not all(type(layer) is int for layer in listed):
        raise AdaRankError(
            f"layers_to_transform of the adapter is {quoted(layers)}; it must be whole numbers"
        )
    return set(listed)


def _layer(data: dict, name: str) -> int | None:
    """Return the number of a module's layer, as PEFT finds it."""
    patterns = data.get("layers_pattern") or r"[^.]*"
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if pattern != r"[^.]*" and not re.fullmatch(r"\w+", str(pattern)):
            raise AdaRankError(f"layers_pattern of the adapter holds {pattern!r}; give plain names")
        if found := re.match(rf".*\.{pattern}\.(\d+)\.", name):
            return int(found[1])
    return None


def _values_by_name(
    patterns: dict, names: Sequence[str], what: str
) -> tuple[dict[str, object], str | None]:
    """Return the value of the first pattern that fits each name, and a pattern that fits none.

    As PEFT does: a pattern has to match the whole name, or all of it after some dot.
    """
    endings, values, unused = _by_ending(names), {}, None
    for pattern, value in patterns.items():
        literal = _literal(pattern)
        if literal is None:
            whole = rf"(?:.*\.)?(?:{pattern})"
            fitting = matching_names(whole, names, f"a key of the adapter's {what}", whole=True)
        else:
            fitting = endings.get(literal, [])
        for name in fitting:
            values.setdefault(name, value)
        if not fitting and unused is None:
            unused = pattern
    return values, unused


def _by_ending(names: Sequence[str]) -> dict[str, list[str]]:
    """List the names by each ending that begins after a dot, or is all of the name."""
    endings: dict[str, list[str]] = {}
    for name in names:
        ending = name
        while True:
            endings.setdefault(ending, []).append(name)
            _, dot, ending = ending.partition(".")
            if not dot:
                break
    return endings


def _literal(pattern: str) -> str | None:
    """Return the one name that a pattern means, or None where it is an expression.

    Dots that nobody escaped are meant as dots.
    """
    plain = re.sub(r"\\([^\w\s])", r"\1", pattern)
    return plain if re.fullmatch(r"[\w.\-]+", plain) else None
