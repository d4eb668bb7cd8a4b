"""The command that scores modules: ``score``."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from adarank_core import numerals
from adarank_core.commands.options import (
    TRIALS_HELP,
    Device,
    Dtype,
    Json,
    MaxLength,
    Model,
    Seed,
    bar,
    print_status,
    refuse_inputs,
    table,
    write,
)
from adarank_core.data import texts as text_sources
from adarank_core.data.texts import Texts
from adarank_core.errors import AdaRankError, printable
from adarank_core.scoring import distributed
from adarank_core.scoring.labels import family_label, module_label
from adarank_core.scoring.options import ScoringOptions
from adarank_core.scoring.scores import Scores

__all__ = ["score"]


def score(
    model: Model = "embedded",
    generic: Annotated[
        bool, typer.Option("--generic", help="Score on generic sentences, as without any texts.")
    ] = False,
    task: Annotated[str | None, typer.Option(help="Score on 16 texts of this task.")] = None,
    sentence: Annotated[str | None, typer.Option(help="Score on this sentence.")] = None,
    texts: Annotated[Path | None, typer.Option(help="Score on a file, one text a line.")] = None,
    trials: Annotated[int | None, typer.Option(help=TRIALS_HELP)] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Add trials until ranks change by no more than this.")
    ] = None,
    average_rank: Annotated[float, typer.Option(help="The budget of those ranks.")] = 8,
    estimator: Annotated[str, typer.Option(help="'fast' or 'paired'.")] = "fast",
    mode: Annotated[str, typer.Option(help="Or 'notebook', 'notebook-accumulating'.")] = ("paper"),
    scan: Annotated[str, typer.Option(help="Notebook modes: 'forward' or 'reversed'.")] = "forward",
    head: Annotated[str, typer.Option(help="'auto', 'classification' or 'causal'.")] = "auto",
    logits: Annotated[
        str | None, typer.Option(help="Causal: of the 'last' token, or of 'all' (the default).")
    ] = None,
    head_draw: Annotated[
        str, typer.Option(help="A random head: 'expected' over all, or the 'seed''s.")
    ] = "expected",
    noise: Annotated[
        str,
        typer.Option(help="'gaussian', 'uniform' or 'rank-8'; ',absolute', ',bias' may follow."),
    ] = "gaussian",
    noise_scale: Annotated[float, typer.Option(help="Noise over the weight's deviation.")] = 1.0,
    modules: Annotated[str | None, typer.Option(help="Regular expression on names.")] = None,
    seed: Seed = 0,
    max_length: MaxLength = 128,
    device: Device = "auto",
    dtype: Dtype = "auto",
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="Draw noise on the CPU, alike for all devices.")
    ] = False,
    json_path: Json = None,
) -> None:
    """Score every module: how far apart noise on it drives the logits.

    Under accelerate launch or torchrun, the modules are split over the processes.
    """
    refuse_inputs(json_path, texts, task, model)
    options = ScoringOptions(
        trials=trials,
        tolerance=tolerance,
        average_rank=average_rank,
        estimator=estimator,
        mode=mode,
        scan=scan,
        noise=noise,
        noise_scale=noise_scale,
        modules=modules,
        seed=seed,
        max_length=max_length,
        logits=logits,
        reproducible=reproducible,
        head_draw=head_draw,
    )
    if tolerance is not None and distributed.is_split():
        raise AdaRankError(
            "--tolerance looks at all modules at once, but they are split over several processes; "
            "use --trials, or a single process"
        )
    chosen, labels = _texts_and_labels(generic, task, sentence, texts, seed)
    asked = {"labels": labels, "head": head, "device": device, "dtype": dtype}
    result = _scores(model, asked, chosen, options)
    if not distributed.is_main():
        return
    if tolerance is not None:
        print_status(f"{result.trials} trials a module were taken for a tolerance of {tolerance:g}")
    if result.not_scored:
        print_status(result.not_scored_note)
    write(result.to_dict(), json_path)
    if json_path != "-":
        table(
            f"disagreement of {result.model} on {chosen.source} ({len(chosen)} texts)",
            ("layer", "module", "score", "± error"),
            [
                (
                    str(one.layer + 1),
                    family_label(one.family),
                    *numerals.with_error(one.score, one.standard_error).split(" ± "),
                )
                for one in result.modules
            ],
        )


def _texts_and_labels(
    generic: bool, task: str | None, sentence: str | None, path: Path | None, seed: int
) -> tuple[Texts, int]:
    """Return the texts of the one source that is given, and how many labels their task has."""
    sources = [generic or None, task, sentence, path]
    if sum(source is not None for source in sources) > 1:
        raise AdaRankError(
            "more than one text source is given; give one of --generic, --task, "
            "--sentence and --texts"
        )
    if task is not None:
        from adarank_core.data.tasks import load_task  # it imports pandas

        loaded = load_task(task, print_status)
        return loaded.sample_texts(16, seed=seed), len(loaded.label_names)
    if sentence is not None:
        return text_sources.sentence(sentence), 2
    if path is not None:
        return text_sources.texts_from_file(path), 2
    return text_sources.generic_texts(), 2


def _scores(model: str, asked: dict, texts: Texts, options: ScoringOptions) -> Scores:
    """Score a model, or this process's part of its modules, under a bar."""
    from adarank_core.scoring.models import adaptable_modules, load_model
    from adarank_core.scoring.score import matching, score_iter

    bundle = load_model(model, **asked)
    if distributed.is_split():
        modules = matching(adaptable_modules(bundle.model), options.modules)
        part = distributed.own_part([module.name for module in modules])
        options = replace(options, modules=part)
    steps = score_iter(bundle, texts, options)
    with bar(shown=distributed.is_main()) as shown:
        row = shown.add_task("scoring", total=None)
        for progress in steps:
            newest = printable(module_label(progress.scores.modules[-1]))
            shown.update(row, completed=progress.done, total=progress.total, description=newest)
    return distributed.gathered(progress.scores) if distributed.is_split() else progress.scores
