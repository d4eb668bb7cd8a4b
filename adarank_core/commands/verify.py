"""The command that holds an adapter against its plan: ``verify``."""

from pathlib import Path
from typing import Annotated

import typer

from adarank_core.commands.options import Json, print_status, refuse_inputs, table, write
from adarank_core.errors import printable
from adarank_core.files import read_json
from adarank_core.ranks.plan_files import adapter_folder
from adarank_core.ranks.plans import RankPlan
from adarank_core.ranks.verification import verify as verification

__all__ = ["verify"]


def verify(
    adapter: Annotated[Path, typer.Option(help="A folder with adapter_config.json, or a run's.")],
    ranks: Annotated[Path, typer.Option(help="The ranks.json of its plan.")],
    json_path: Json = None,
) -> None:
    """Tell whether an adapter has the ranks and scalings of a plan; exit 1 when not."""
    refuse_inputs(json_path, ranks, adapter)
    adapter = adapter_folder(adapter)
    checked = verification(adapter, RankPlan.from_dict(read_json(ranks)))
    result = checked.to_dict()
    write(result, json_path)
    off = {*checked.missing, *checked.unplanned, *checked.different, *checked.unusable}
    if json_path != "-" and off:
        table(
            "modules that are not as planned",
            ("module", "planned rank", "found", "planned scaling", "found"),
            [
                (module["name"], *_cells(module, "rank", "d"), *_cells(module, "scaling", ".3g"))
                for module in result["modules"]
                if module["name"] in off
            ],
        )
    for note in checked.notes:
        print_status(note)
    if json_path != "-":
        print(printable(f"{adapter}: {checked.sentence()}"))
    if not checked.is_the_plan:
        raise typer.Exit(1)


def _cells(module: dict, key: str, form: str) -> list[str]:
    layers = (module["planned"], module["found"])
    return ["none" if layer is None else f"{layer[key]:{form}}" for layer in layers]
