"""The command that writes a plan for other programs: ``export``."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from adarank_core.commands.options import (
    Json,
    print_status,
    refuse_inputs,
    writable_folder,
    write,
)
from adarank_core.errors import AdaRankError, printable
from adarank_core.files import read_json
from adarank_core.ranks import export as exporting
from adarank_core.ranks.plan_files import read_plan
from adarank_core.ranks.plans import RankPlan
from adarank_core.ranks.portable import portable
from adarank_core.scoring.scores import Scores

__all__ = ["export"]


def export(
    ranks: Annotated[
        Path, typer.Option(help="A ranks.json, or an adapter_config.json with ranks.")
    ],
    output: Annotated[
        Path,
        typer.Option(help="Folder for the files.", parser=writable_folder, metavar="<path>"),
    ],
    scores: Annotated[
        Path | None, typer.Option(help="Its scores.json: layers and families in table and report.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model: for an adapter_config.json's patterns, and to try the plan."),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="A saved adapter, or a run's folder: write it for servers without patterns."
        ),
    ] = None,
    starter: Annotated[
        bool,
        typer.Option(
            "--starter", help="Also an untrained adapter, for programs that go on from one."
        ),
    ] = False,
    json_path: Json = None,
) -> None:
    """Write a plan as PEFT's files, a snippet, a table and a page; make an adapter portable.

    The untrained adapter of --starter has the planned ranks and scalings, B is zero, and A is drawn
    from the seed in ranks.json. The modules' sizes are those in --scores; without it the model is
    loaded.
    """
    refuse_inputs(json_path, ranks, scores, model, adapter)
    if starter and adapter is not None:
        raise AdaRankError(
            "--starter writes an adapter that is not trained, and --adapter takes one that is; "
            "give one of them"
        )
    read = None if scores is None else Scores.from_dict(read_json(scores))
    names = None if read is None else [module.name for module in read.modules]
    if model is None:
        plan = read_plan(ranks, names)
        if names is None and "peft_type" in read_json(ranks):
            _refuse_endings(plan.ranks)
    else:
        from adarank_core.scoring.models import adaptable_modules, load_model
        from adarank_core.training.adapters import adapted

        bundle = load_model(model)
        plan = read_plan(ranks, [module.name for module in adaptable_modules(bundle.model)])
        adapted(bundle, plan)  # refuses where PEFT builds another one
    sizes = _sizes(plan, read, model) if starter else None
    files = exporting.export(plan, output, scores=read, starter=sizes)
    result = {"files": [str(file) for file in files]}
    if adapter is not None:
        compact, padded = portable(adapter, output / "portable")
        result |= {"compact_bytes": compact, "portable_bytes": padded}
        result["files"] += [
            str(output / "portable" / name)
            for name in ("adapter_config.json", "adapter_model.safetensors")
        ]
    write(result, json_path)
    if json_path != "-":
        for file in result["files"]:
            print(printable(str(file)))
        if adapter is not None:
            print_status(
                f"the adapter has {compact:,} bytes as it is and {padded:,} bytes portable"
            )


def _sizes(plan: RankPlan, scores: Scores | None, model: str | None) -> dict:
    """Return (in_features, out_features) of every module, and say where they were found."""
    if scores is not None:
        modules, source = scores.modules, "of the scores"
    else:
        from adarank_core.scoring.models import adaptable_modules, load_model

        name = model or plan.model
        bundle = load_model(name, device="cpu")
        modules, source = adaptable_modules(bundle.model), f"of the model {name!r}"
    print_status(f"the starter adapter has the modules' sizes {source}")
    return {module.name: (module.in_features, module.out_features) for module in modules}


def _refuse_endings(names: Iterable[str]) -> None:
    """Refuse names that are no full ones: these have a dot, and most the number of a layer."""
    numbered = any(part.isdigit() for name in names for part in name.split("."))
    ending = next((name for name in names if "." not in name or not numbered), None)
    if ending is not None:
        raise AdaRankError(
            f"target_modules of the adapter holds {ending!r}, which is an ending of modules' names "
            "and no full one; give the model (--model)"
        )
