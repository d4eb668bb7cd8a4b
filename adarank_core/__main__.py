"""The command line: ``python -m adarank_core``."""

import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer._click.exceptions import ClickException  # typer has no public name for it

from adarank_core.commands.options import (
    TRIALS_HELP,
    Json,
    MaxLength,
    Model,
    Seed,
    bar,
    on_error_stream,
    table,
    told,
    write,
)
from adarank_core.commands.train import compare, finetune
from adarank_core.errors import AdaRankError

app = typer.Typer(
    help="Which LoRA rank each module of a pretrained model deserves, before any training.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def score(
    model: Model = "embedded",
    generic: Annotated[bool, typer.Option("--generic", help="Score on generic sentences.")] = False,
    task: Annotated[str | None, typer.Option(help="Score on 16 texts of this task.")] = None,
    sentence: Annotated[str | None, typer.Option(help="Score on this sentence.")] = None,
    texts: Annotated[Path | None, typer.Option(help="Score on a file, one text a line.")] = None,
    trials: Annotated[int | None, typer.Option(help=TRIALS_HELP)] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Add instances until ranks change by no more than this.")
    ] = None,
    average_rank: Annotated[float, typer.Option(help="The budget of those ranks.")] = 8,
    estimator: Annotated[str, typer.Option(help="'fast' or 'paired'.")] = "fast",
    mode: Annotated[str, typer.Option(help="Or 'notebook', 'notebook-accumulating'.")] = ("paper"),
    scan: Annotated[str, typer.Option(help="Notebook modes: 'forward' or 'reversed'.")] = "forward",
    head: Annotated[str, typer.Option(help="'auto', 'classification' or 'causal'.")] = "auto",
    logits: Annotated[str, typer.Option(help="Causal: of the 'last' token or of 'all'.")] = "last",
    noise_scale: Annotated[float, typer.Option(help="Noise over the weight's deviation.")] = 1.0,
    modules: Annotated[str | None, typer.Option(help="Regular expression on names.")] = None,
    seed: Seed = 0,
    max_length: MaxLength = 128,
    json_path: Json = None,
) -> None:
    """Score every module: how far apart noise on it drives the logits.

    Under accelerate launch or torchrun, the modules are split over the processes.
    """
    from adarank_core.data import texts as text_sources
    from adarank_core.data.tasks import load_task
    from adarank_core.scoring import distributed

    given = [generic or None, task, sentence, texts]
    if sum(source is not None for source in given) > 1:
        raise AdaRankError(
            "more than one text source is given; give one of --generic, --task, "
            "--sentence and --texts"
        )
    if tolerance is not None and distributed.is_split():
        raise AdaRankError(
            "--tolerance looks at all modules at once, but they are split over several processes; "
            "use --trials, or a single process"
        )
    labels = 2
    if task is not None:
        loaded = load_task(task, told)
        labels, chosen = len(loaded.label_names), loaded.sample_texts(16, seed=seed)
    elif sentence is not None:
        chosen = text_sources.sentence(sentence)
    elif texts is not None:
        chosen = text_sources.texts_from_file(texts)
    else:
        chosen = text_sources.generic_texts()
    from adarank_core.scoring.models import adaptable_modules, load_model
    from adarank_core.scoring.score import matching, score_iter

    bundle = load_model(model, labels=labels, head=head)
    if distributed.is_split():
        found = matching(adaptable_modules(bundle.model), modules)
        modules = distributed.own_part([module.name for module in found])
    steps = score_iter(
        bundle,
        chosen,
        trials=trials,
        tolerance=tolerance,
        average_rank=average_rank,
        estimator=estimator,
        mode=mode,
        scan=scan,
        noise_scale=noise_scale,
        modules=modules,
        seed=seed,
        max_length=max_length,
        logits=logits,
    )
    with bar(shown=distributed.is_main()) as shown:
        row = shown.add_task("scoring", total=None)
        for progress in steps:
            newest = progress.scores.modules[-1].name
            shown.update(row, completed=progress.done, total=progress.total, description=newest)
    result = distributed.gathered(progress.scores) if distributed.is_split() else progress.scores
    if not distributed.is_main():
        return
    if tolerance is not None:
        told(
            f"{result.trials} noisy instances a module were taken for a tolerance of {tolerance:g}"
        )
    write(result.to_dict(), json_path)
    if json_path != "-":
        table(
            f"disagreement of {result.model} on {chosen.source} ({len(chosen)} texts)",
            ("layer", "family", "score", "± error"),
            [
                (str(m.layer), m.family, f"{m.score:.4g}", f"{m.standard_error:.2g}")
                for m in result.modules
            ],
        )


@app.command()
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
    from adarank_core.files import read_json
    from adarank_core.ranks import allocation
    from adarank_core.scoring.scores import Scores

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
        table(
            f"ranks for {plan.model}: {plan.budget['average_rank']:.3g} on average, "
            f"{plan.budget['lora_parameters']:,} LoRA parameters, "
            f"residual {plan.budget['residual']:,}",
            ("module", "rank"),
            [(name, str(rank)) for name, rank in plan.ranks.items()],
        )


def _pins(pins: list[str]) -> dict[str, int]:
    pinned = {}
    for pin in pins:
        name, _, rank = pin.rpartition("=")
        if not name or not rank.isdecimal():
            raise AdaRankError(f"--pin is {pin!r}; it must be NAME=RANK with a whole number")
        if name in pinned:
            raise AdaRankError(f"--pin names {name!r} twice; give one rank")
        pinned[name] = int(rank)
    return pinned


def _matching(patterns: list[str], names: list[str]) -> list[str]:
    found = []
    for pattern in patterns:
        try:
            fitting = [name for name in names if re.search(pattern, name)]
        except re.error as error:
            raise AdaRankError(f"{pattern!r} is not a regular expression ({error})") from None
        if not fitting:
            raise AdaRankError(f"--exclude {pattern!r} fits none of the {len(names)} modules")
        found += fitting
    return sorted(set(found))


app.command()(finetune)
app.command()(compare)


@app.command()
def export(
    ranks: Annotated[
        Path, typer.Option(help="A ranks.json, or an adapter_config.json with ranks.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the files.")],
    scores: Annotated[
        Path | None, typer.Option(help="Its scores.json: layers and families in table and report.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model that an adapter_config.json's patterns are for.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="A saved adapter: write it for servers without patterns.")
    ] = None,
    json_path: Json = None,
) -> None:
    """Write a plan as PEFT's files, a snippet, a table and a page; make an adapter portable."""
    from adarank_core.files import read_json
    from adarank_core.ranks.plans import read_plan
    from adarank_core.scoring.scores import Scores

    read = None if scores is None else Scores.from_dict(read_json(scores))
    names = None if read is None else [module.name for module in read.modules]
    if model is not None:
        from adarank_core.scoring.models import adaptable_modules, load_model

        names = [module.name for module in adaptable_modules(load_model(model).model)]
    plan = read_plan(ranks, names)
    from adarank_core.ranks import export as exporting

    files = exporting.export(plan, output, scores=read)
    result = {"files": [str(file) for file in files]}
    if adapter is not None:
        from adarank_core.ranks.portable import portable

        compact, padded = portable(adapter, output / "portable")
        result |= {"compact_bytes": compact, "portable_bytes": padded}
        result["files"] += [
            str(output / "portable" / name)
            for name in ("adapter_config.json", "adapter_model.safetensors")
        ]
    write(result, json_path)
    if json_path != "-":
        for file in result["files"]:
            print(file)
        if adapter is not None:
            told(f"the adapter has {compact:,} bytes as it is and {padded:,} bytes portable")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return 0 when fine and 2 on bad input, said in one line.

    Examples
    --------
    >>> main(["allocate", "--scores", "missing.json"])
    2
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that wait must not spin for long: with a page or another run on the same cores,
    # spinning made training three times slower. Read when torch is imported, which is later.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return app(arguments or ["--help"], standalone_mode=False) or 0
    except AdaRankError as error:
        message = str(error)
    except ClickException as error:
        message = error.format_message()
    except (KeyboardInterrupt, typer.Abort):
        on_error_stream.print("stopped", highlight=False)
        return 130
    message = " ".join(message.split())
    on_error_stream.print(f"error: {message}", highlight=False, markup=False, soft_wrap=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
