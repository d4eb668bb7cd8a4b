"""The commands that train: ``finetune`` and ``compare``."""

from pathlib import Path
from typing import Annotated

import typer

from adarank_core.commands.options import (
    TRIALS_HELP,
    BatchSize,
    Json,
    LearningRate,
    MaxLength,
    Model,
    Output,
    Queue,
    Resume,
    Seed,
    Steps,
    TaskName,
    Watch,
    output_folder,
    print_status,
    refuse_inputs,
    table,
    write,
)
from adarank_core.comparison import parallel_seeds, verdicts
from adarank_core.errors import AdaRankError, printable
from adarank_core.files import read_json, runs_folder, write_json
from adarank_core.ranks.plans import RankPlan
from adarank_core.runs import jobs
from adarank_core.runs.run_queue import wait_for_turn
from adarank_core.training.settings import Settings

__all__ = ["compare", "finetune"]


def finetune(
    task: TaskName,
    model: Model = "embedded",
    ranks: Annotated[Path | None, typer.Option(help="A ranks.json.")] = None,
    uniform_rank: Annotated[int | None, typer.Option(help="The same rank everywhere.")] = None,
    steps: Steps = Settings.steps,
    seed: Seed = 0,
    output: Output = None,
    resume: Resume = False,
    batch_size: BatchSize = Settings.batch_size,
    learning_rate: LearningRate = Settings.learning_rate,
    max_length: MaxLength = Settings.max_length,
    queue: Queue = False,
    json_path: Json = None,
) -> None:
    """Fine-tune with given ranks and test once at the end."""
    from adarank_core.comparison.inputs import input_path, keep_input, model_path
    from adarank_core.data.tasks import load_task

    refuse_inputs(json_path, task, ranks, model)
    model = model_path(model)
    if (ranks is None) == (uniform_rank is None):
        raise AdaRankError("give either --ranks or --uniform-rank")
    settings = Settings(steps, batch_size, learning_rate, max_length)
    if ranks is not None:
        if resume and output is not None and not ranks.exists():
            kept = output / "ranks.json"
            ranks = kept if kept.exists() else ranks
        plan = RankPlan.from_dict(read_json(ranks))
    loaded = load_task(input_path(output if resume else None, task), print_status)
    from adarank_core.comparison.planner import same_rank
    from adarank_core.training import checkpoints, finetuning

    if ranks is None:
        plan = same_rank(model, uniform_rank)
        cut = [name for name, rank in plan.ranks.items() if rank < uniform_rank]
        if cut:
            print_status(
                f"rank {uniform_rank} is cut to the size of {len(cut)} of {len(plan.ranks)} "
                f"modules, such as {cut[0]!r}, which gets {plan.ranks[cut[0]]}"
            )
    config = {
        "command": "finetune",
        "model": model,
        "task": task,
        "plan": plan.to_dict(),
        "settings": vars(settings),
        "seed": seed,
    }
    folder = output_folder(output, config, resume) or jobs.new_run_folder("finetune")
    if resume and (folder / "result.json").exists():
        raise AdaRankError(f"the run in {str(folder)!r} has finished; there is nothing to resume")
    with jobs.open_run(folder, config) as recorder, Watch(recorder, steps) as watch:
        keep_input(folder, task)
        write_json(folder / "ranks.json", plan.to_dict())
        if not _has_turn(watch, queue):
            return
        callbacks = {"on_event": watch.record, "should_stop": watch.should_stop}
        training = finetuning.Training(model, loaded, plan, settings, seed=seed)
        result = finetuning.train(training, output=folder, **callbacks)
        if result is not None:
            facts = result.to_dict()
            del facts["ranks"]  # they stand in ranks.json
            write_json(folder / "result.json", facts)
            checkpoints.clear(folder / "checkpoints")
            recorder.record({"event": "result", **facts})
    print_status(f"all that the run made is in {folder}")
    if result is None:
        return
    write(facts, json_path)
    if json_path != "-":
        table("test", ("metric", "value"), [(k, f"{v}") for k, v in facts.items()])


def compare(
    task: TaskName,
    model: Model = "embedded",
    arms: Annotated[str, typer.Option(help="Names or ranks.json files, with commas.")] = (
        "uniform,adarank"
    ),
    average_rank: Annotated[float, typer.Option(help="Sets every arm's LoRA parameters.")] = 8,
    seeds: Annotated[str, typer.Option(help="Whole numbers, with commas.")] = "0",
    steps: Steps = Settings.steps,
    output: Output = None,
    resume: Resume = False,
    trials: Annotated[int | None, typer.Option(help=TRIALS_HELP)] = None,
    batch_size: BatchSize = Settings.batch_size,
    learning_rate: LearningRate = Settings.learning_rate,
    learning_rates: Annotated[
        str | None,
        typer.Option(help="Instead: with commas, every arm's best of these on validation."),
    ] = None,
    max_length: MaxLength = Settings.max_length,
    side_by_side: Annotated[
        int, typer.Option(help="Seeds that are trained at the same time, on shared cores.")
    ] = 1,
    queue: Queue = False,
    part: Annotated[bool, typer.Option("--part", hidden=True)] = False,
    json_path: Json = None,
) -> None:
    """Fine-tune several arms with several seeds at equal LoRA parameters, and judge."""
    from adarank_core.comparison.inputs import model_path
    from adarank_core.comparison.request import ComparisonRequest

    names = tuple(arm.strip() for arm in arms.split(",") if arm.strip())
    numbers = _numbers("seeds", seeds, int, "whole numbers such as 0,1,2")
    if part:
        _train_part(task, names, numbers, output)
        return
    rates = ()
    if learning_rates is not None:
        rates = _numbers("learning_rates", learning_rates, float, "numbers such as 1e-3,5e-3")
    settings = Settings(steps, batch_size, learning_rate, max_length)
    request = ComparisonRequest(
        model_path(model), task, names, average_rank, numbers, trials, settings, rates, side_by_side
    )
    refuse_inputs(json_path, model, *request.inputs)
    request.check(output if resume else None)
    verdict = _run_comparison(request, output, resume, queue)
    if verdict is not None:
        write(verdict.to_dict(), json_path)
        if json_path != "-":
            _print_verdict(verdict, len(numbers))


def _train_part(task: str, arms: tuple[str, ...], seeds: tuple[int, ...], output: Path) -> None:
    """Train a share of the seeds of another process, which judges."""
    from adarank_core.comparison.compare import Comparison, read_request
    from adarank_core.data.tasks import load_task

    on_event, should_stop = parallel_seeds.connect_to_parent()
    callbacks = {"on_event": on_event, "should_stop": should_stop}
    request = read_request(output, arms, seeds)
    comparison = Comparison(request, load_task(task), output=output, **callbacks)
    _ = comparison.search() and comparison.train()


def _run_comparison(request, output: Path | None, resume: bool, queue: bool):
    """Run a comparison in its folder; None when stopped."""
    from adarank_core.comparison.compare import Comparison
    from adarank_core.comparison.inputs import keep_input
    from adarank_core.data.tasks import load_task

    config, may_differ = request.to_dict(), ("arms", "seeds", "side_by_side")
    folder = output_folder(output, config, resume, may_differ) or jobs.new_run_folder("compare")
    steps, workers = request.settings.steps, min(request.side_by_side, len(request.seeds))
    with jobs.open_run(folder, config) as recorder, Watch(recorder, steps) as watch:
        task, *_ = [keep_input(folder, name) for name in request.inputs]
        if not _has_turn(watch, queue):
            return None
        loaded = load_task(task, print_status)
        options = {"output": folder, "on_event": watch.record, "should_stop": watch.should_stop}
        if workers > 1:
            comparison = Comparison(request, loaded, **options)
            if not parallel_seeds.train(comparison, task, workers):
                return None
        comparison = Comparison(request, loaded, **options)
        done = comparison.search() and comparison.train()
        verdict = comparison.verdict() if done else None
    print_status(f"all that the run made is in {folder}")
    return verdict


def _print_verdict(verdict, seeds: int) -> None:
    from adarank_core.comparison.tables import mean_over_runs

    table(
        f"{verdict.task}, {verdict.model}: means over {seeds} seed(s)",
        ("arm", "LoRA parameters", "test loss", "test accuracy"),
        [
            (
                name,
                f"{arm['lora_parameters']:,}",
                *(
                    f"{mean_over_runs(arm['runs'], key):.4f}"
                    for key in ("test_loss", "test_accuracy")
                ),
            )
            for name, arm in verdict.arms.items()
        ],
    )
    for compared in verdict.comparisons:
        if compared["metric"] in ("test_loss", "test_accuracy"):
            print(printable(verdicts.describe(compared, seeds)))
    for name, why in verdict.failed.items():
        print(printable(f"{name} is not compared: {why}"))


def _has_turn(watch: Watch, queue: bool) -> bool:
    """Wait for the run's turn if it is to; False when it was cancelled while it waited.

    One that does not wait is counted where runs are kept, and leaves no trace anywhere else.
    """

    counted = queue or watch.folder.resolve().parent == runs_folder().resolve()
    return not counted or wait_for_turn(watch, waits=queue)


def _numbers(name: str, text: str, kind: type, example: str) -> tuple:
    try:
        return tuple(kind(number) for number in text.split(","))
    except ValueError:
        raise AdaRankError(f"{name} is {text!r}; give {example}") from None
