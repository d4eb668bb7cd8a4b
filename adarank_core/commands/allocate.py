"""The command that turns scores into ranks: ``allocate``."""

from pathlib import Path
from typing import Annotated

import typer

from adarank_core.commands.options import Json, refuse_inputs, table, write
from adarank_core.errors import AdaRankError
from adarank_core.files import read_json
from adarank_core.patterns import matching_names
from adarank_core.ranks import allocation
from adarank_core.scoring.labels import family_label
from adarank_core.scoring.scores import Scores

__all__ = ["allocate"]

MOST_DIGITS = 100  # of a rank; Python reads no more than 4,300


def allocate(
    scores: Annotated[Path, typer.Option(help="A scores.json.")],
    average_rank: Annotated[float | None, typer.Option(help="Budget as average rank.")] = None,
    parameters: Annotated[int | None, typer.Option(help="Budget as LoRA parameters.")] = None,
    share: Annotated[
        float | None, typer.Option(help="Budget as a share of the scored modules' weights.")
    ] = None,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="No budget: the scores alone decide.")
    ] = False,
    budget_by: Annotated[str | None, typer.Option(help="'rank' or 'parameters'.")] = None,
    group_by: Annotated[str, typer.Option(help="'none' or 'family'.")] = "none",
    min_rank: Annotated[int, typer.Option(help="Smallest rank.")] = 1,
    max_rank: Annotated[int | None, typer.Option(help="Largest rank.")] = None,
    pin: Annotated[list[str] | None, typer.Option(help="NAME=RANK, as often as needed.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Regular expression on names, as often as needed.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Power of the scores; 0 is uniform.")] = 1.0,
    rounding: Annotated[str, typer.Option(help="'largest-remainder' or 'floor'.")] = (
        "largest-remainder"
    ),
    alpha_policy: Annotated[str, typer.Option(help="'proportional', 'constant' or 'rslora'.")] = (
        "proportional"
    ),
    json_path: Json = None,
) -> None:
    """Turn scores into ranks within a budget."""
    refuse_inputs(json_path, scores)
    read = Scores.from_dict(read_json(scores))
    plan = allocation.allocate(
        read,
        average_rank,
        parameters=parameters,
        share=share,
        adaptive=adaptive,
        budget_by=budget_by,
        group_by=group_by,
        min_rank=min_rank,
        max_rank=max_rank,
        pinned=_pins(pin or []),
        excluded=_matching(exclude or [], [module.name for module in read.modules]),
        temperature=temperature,
        rounding=rounding,
        alpha_policy=alpha_policy,
    )
    write(plan.to_dict(), json_path)
    if json_path != "-":
        equal = average_rank and plan.budget["by"] == "parameters"  # else the average is no news
        uniform = f" (the budget of uniform rank {average_rank:g})" if equal else ""
        table(
            f"ranks for {plan.model}: {plan.budget['average_rank']:.3g} on average, "
            f"{plan.budget['lora_parameters']:,} LoRA parameters{uniform}, "
            f"residual {plan.budget['residual']:,}",
            ("layer", "module", "rank", "name, for --pin"),
            [
                (str(m.layer + 1), family_label(m.family), str(plan.ranks[m.name]), m.name)
                for m in read.modules
            ],
        )


def _pins(pins: list[str]) -> dict[str, int]:
    pinned = {}
    for pin in pins:
        name, _, rank = pin.rpartition("=")
        if not name or not rank.isdecimal() or len(rank) > MOST_DIGITS:
            raise AdaRankError(f"--pin is {pin!r}; it must be NAME=RANK with a whole number")
        if name in pinned:
            raise AdaRankError(f"--pin names {name!r} twice; give one rank")
        pinned[name] = int(rank)
    return pinned


def _matching(patterns: list[str], names: list[str]) -> list[str]:
    found = []
    for pattern in patterns:
        fitting = matching_names(pattern, names, "--exclude")
        if not fitting:
            raise AdaRankError(f"--exclude {pattern!r} fits none of the {len(names)} modules")
        found += fitting
    return sorted(set(found))
