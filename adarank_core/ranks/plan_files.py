"""Plans read from files: a ``ranks.json``, or anybody's ``adapter_config.json``."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, Required

from annotated_types import Ge, Interval, MaxLen
from typing_extensions import TypedDict  # pydantic wants this one below Python 3.12

from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import read_json
from adarank_core.patterns import SECONDS, check_pattern, matching_names
from adarank_core.ranks.plans import (
    HIGHEST_RANK,
    MOST_MODULES,
    TASK_TYPES,
    WITH_HEAD,
    Alpha,
    RankPlan,
)
from adarank_core.schemas import STRICT, FailFast, Name, Text, validated

__all__ = [
    "CONFIG",
    "adapted_names",
    "adapter_folder",
    "beside_ranks",
    "checked_adapter",
    "plan_of_adapter",
    "read_plan",
    "values_by_name",
]

#: The file that makes a folder an adapter.
CONFIG = "adapter_config.json"
# Where the folder of a fine-tuning and that of a comparison hold adapters.
OF_RUNS = ("adapter", "runs/*/adapter")

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

MOST_EXPRESSIONS = 500  # keys that are no plain names; each takes a millisecond to compile

_Rank = Annotated[int, Interval(ge=1, le=HIGHEST_RANK)]
_Names = Annotated[list[Name], MaxLen(MOST_MODULES), FailFast()] | Text | None
_Layer = Annotated[int, Ge(0)]


class _AdapterFile(TypedDict, total=False):
    __pydantic_config__ = STRICT
    peft_type: Required[Literal["LORA"]]
    base_model_name_or_path: Text | None
    task_type: Literal[TASK_TYPES] | None
    r: _Rank
    lora_alpha: Alpha
    use_rslora: bool | None
    target_modules: _Names
    exclude_modules: _Names
    rank_pattern: Annotated[dict[Name, _Rank], MaxLen(MOST_MODULES), FailFast()] | None
    alpha_pattern: Annotated[dict[Name, Alpha], MaxLen(MOST_MODULES), FailFast()] | None
    layers_to_transform: Annotated[list[_Layer], FailFast()] | _Layer | None
    layers_pattern: Annotated[list[Text], MaxLen(20), FailFast()] | Text | None


def adapter_folder(given: str | Path) -> Path:
    """Return the folder of an adapter, also where its configuration or its run's folder was given.

    Parameters
    ----------
    given : str or pathlib.Path

    Raises
    ------
    AdaRankError
        If it is another file, or the folder of a run with several adapters.

    Examples
    --------
    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> (run / "adapter").mkdir()
    >>> _ = (run / "adapter" / CONFIG).write_text("{}")
    >>> adapter_folder(run).name
    'adapter'
    """
    given = Path(given)
    try:
        given.stat()
    except (OSError, ValueError):  # such as too long a name: reading it says why
        return given
    if given.name == CONFIG and given.is_file():
        return given.parent
    if given.is_file():
        raise AdaRankError(f"{str(given)!r} is a file; give the folder that holds {CONFIG}")
    if (given / CONFIG).exists():
        return given
    found = [file.parent for of_run in OF_RUNS for file in given.glob(f"{of_run}/{CONFIG}")]
    if len(found) > 1:
        raise AdaRankError(
            f"{str(given)!r} has {len(found)} adapters in it; give one of them, such as "
            f"{str(min(found))!r}"
        )
    return found[0] if found else given


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
        checked_adapter(data)
        if beside := beside_ranks(data):
            raise AdaRankError(
                f"the adapter has {beside[0]}, which a plan of ranks cannot hold; take it out of "
                "the file if it is not needed"
            )
        return plan_of_adapter(data, modules)
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


def checked_adapter(data) -> dict:
    """Return what was an ``adapter_config.json``, or say the first thing in it that is wrong.

    Raises
    ------
    AdaRankError
        If it is not of LoRA, a value that ranks or scalings follow from is of another type or out
        of range, or a pattern cannot be read.

    Examples
    --------
    >>> checked_adapter({"peft_type": "LORA", "r": 0})
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: 'r' of the adapter is 0; it must be greater than or equal to 1
    """
    validated(data, _AdapterFile, "the adapter")
    for key in ("rank_pattern", "alpha_pattern"):
        expressions = [pattern for pattern in data.get(key) or () if _literal(pattern) is None]
        if len(expressions) > MOST_EXPRESSIONS:
            raise AdaRankError(
                f"the adapter's {key} has {len(expressions):,} regular expressions, such as "
                f"{expressions[0]!r}; give at most {MOST_EXPRESSIONS}, or plain names"
            )
        for pattern in expressions:
            check_pattern(pattern, f"a key of the adapter's {key}")
    return data


def beside_ranks(data: dict) -> list[str]:
    """Name what an adapter has that no plan holds; a head that is trained whole is no loss.

    Parameters
    ----------
    data : dict
        As `checked_adapter` returns it.

    Examples
    --------
    >>> beside_ranks({"use_dora": True, "bias": "none"})
    ['DoRA (use_dora is True)']
    """
    found = []
    for key, what in BESIDE.items():
        value = data.get(key)
        a_head = key == "modules_to_save" and data.get("task_type") in WITH_HEAD
        if not a_head and not any(value is none or value == none for none in NOTHING):
            found.append(f"{what} ({key} is {quoted(value)})")
    return found


def plan_of_adapter(
    data: dict, modules: Sequence[str] | None = None, remedy: str = "give the model"
) -> RankPlan:
    """Return the ranks that a configuration gives, whatever else the adapter has.

    Parameters
    ----------
    data : dict
        As `checked_adapter` returns it.
    modules : sequence of str, optional
        Full names, as in `read_plan`.
    remedy : str
        What can be done where the names need the model, for the sentence.

    Raises
    ------
    AdaRankError
        If its names or patterns do not tell which modules it adapts.

    Examples
    --------
    >>> plan_of_adapter({"target_modules": ["0.query"], "r": 4, "lora_alpha": 8}).scaling
    {'0.query': 2.0}
    """
    if modules is None:
        _refuse_what_needs_the_model(data, remedy)
    names = _target_modules(data, modules)
    found, unused = values_by_name(data.get("rank_pattern") or {}, names, "rank_pattern")
    if unused is not None:
        raise AdaRankError(
            f"rank_pattern names {unused!r}, which fits none of the "
            + (
                f"names in target_modules; {remedy}"
                if modules is None
                else f"{len(names)} modules that the adapter adapts in this model"
            )
        )
    alphas, _ = values_by_name(data.get("alpha_pattern") or {}, names, "alpha_pattern")
    ranks = {name: found.get(name, data.get("r", 8)) for name in names}
    alpha = {name: alphas.get(name, data.get("lora_alpha", 8)) for name in names}
    total = sum(ranks.values())
    budget = {"by": "rank", "requested": total, "spent": total, "residual": 0}
    budget |= {"average_rank": total / len(ranks), "rounding": "none"}
    budget["alpha_policy"] = "rslora" if data.get("use_rslora") else "proportional"
    if not data.get("use_rslora") and len(set(alpha.values())) == 1 < len(set(ranks.values())):
        budget["alpha_policy"] = "constant"
    model = data.get("base_model_name_or_path") or "unknown"
    return RankPlan(model, ranks, alpha, budget, task_type=data.get("task_type"))


def _refuse_what_needs_the_model(data: dict, remedy: str) -> None:
    for key in ("exclude_modules", "layers_to_transform"):
        if data.get(key) not in (None, [], ""):
            raise AdaRankError(
                f"the adapter's {key} is {quoted(data[key])}, which leaves out some of the model's "
                f"modules; {remedy}"
            )
    targets = data.get("target_modules")
    if targets and isinstance(targets, str):
        raise AdaRankError(
            f"target_modules of the adapter is the pattern {targets!r}, which does not name the "
            f"modules; {remedy}"
        )


def _target_modules(data: dict, modules: Sequence[str] | None) -> list[str]:
    """Name the modules that an adapter adapts; refuse an ending that none of them has."""
    targets = data.get("target_modules")
    if not targets:
        raise AdaRankError(
            f"target_modules of the adapter is {quoted(targets)}; it must name the adapted modules"
        )
    if modules is None:
        return list(dict.fromkeys(targets))
    for key in ("target_modules", "exclude_modules"):
        _check_endings(data.get(key), modules, key)
    names = adapted_names(data, modules)
    if not names:
        raise AdaRankError(
            f"the adapter adapts none of the model's {len(modules)} modules; it is for "
            f"{data.get('base_model_name_or_path')!r}"
        )
    return names


def adapted_names(data: dict, modules: Sequence[str]) -> list[str]:
    """Return the modules that a configuration adapts, as PEFT chooses them.

    Parameters
    ----------
    data : dict
        As `checked_adapter` returns it.
    modules : sequence of str
        Full names.

    Raises
    ------
    AdaRankError
        If an expression in it takes too long.

    Examples
    --------
    >>> adapted_names({"target_modules": ["query"]}, ["0.query", "0.key"])
    ['0.query']
    """
    targets = data["target_modules"]
    fitting = set(modules)
    if targets != "all-linear":
        fitting = set(_fitting(targets, modules, "target_modules"))
    if excluded := data.get("exclude_modules"):
        fitting -= set(_fitting(excluded, modules, "exclude_modules"))
    named = set() if isinstance(targets, str) else set(targets)
    layers = _layers(data)
    return [
        name
        for name in modules
        if name in fitting and (layers is None or name in named or _layer(data, name) in layers)
    ]


def _fitting(wanted: str | list[str], names: Sequence[str], what: str) -> list[str]:
    """Return the names that an expression matches whole, or that end in one of a list's names."""
    if isinstance(wanted, str):
        return matching_names(wanted, names, f"the adapter's {what}", whole=True)
    endings = _by_ending(names)
    return [name for ending in wanted for name in endings.get(ending, [])]


def _check_endings(wanted: str | list[str] | None, names: Sequence[str], what: str) -> None:
    """Refuse a list of which some names are endings of modules' names, and others are not."""
    endings = _by_ending(names) if isinstance(wanted, list) else {}
    lost = next((ending for ending in wanted or () if ending not in endings), None)
    if lost is not None and any(ending in endings for ending in wanted):
        raise AdaRankError(
            f"{what} of the adapter names {lost!r}, which is none of the {len(names)} modules that "
            "can have a rank in this model; take it out of the file if it is not needed"
        )


def _layers(data: dict) -> set[int] | None:
    """Return the numbers of the layers that an adapter is kept to, or None."""
    layers = data.get("layers_to_transform")
    if layers in (None, []):
        return None
    return set(layers) if isinstance(layers, list) else {layers}


def _layer(data: dict, name: str) -> int | None:
    """Return the number of a module's layer, as PEFT finds it."""
    patterns = data.get("layers_pattern") or r"[^.]*"
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if pattern != r"[^.]*" and not re.fullmatch(r"\w+", pattern):
            raise AdaRankError(f"layers_pattern of the adapter holds {pattern!r}; give plain names")
        if found := re.match(rf".*\.{pattern}\.(\d+)\.", name):
            return int(found[1])
    return None


def values_by_name(
    patterns: dict, names: Sequence[str], what: str
) -> tuple[dict[str, object], str | None]:
    """Return the value of the first pattern that fits each name, and a pattern that fits none.

    As PEFT does: a pattern has to match the whole name, or all of it after some dot.

    Parameters
    ----------
    patterns : dict of str to object
    names : sequence of str
    what : str
        What the patterns were given as, for the sentence.

    Raises
    ------
    AdaRankError
        If they take more than a second together.

    Examples
    --------
    >>> values_by_name({"key|query": 4, "dense": 2}, ["0.query", "0.value"], "rank_pattern")
    ({'0.query': 4}, 'dense')
    """
    endings, values, unused = _by_ending(names), {}, None
    ends = time.process_time() + SECONDS
    for pattern, value in patterns.items():
        literal = _literal(pattern)
        if literal is None:
            whole = rf"(?:.*\.)?(?:{pattern})"
            key = f"a key of the adapter's {what}"
            fitting = matching_names(whole, names, key, whole=True, ends=ends)
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
