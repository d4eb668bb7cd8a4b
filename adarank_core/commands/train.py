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
    table,
    told,
    write,
)
from adarank_core.errors import AdaRankError

__all__ = ["compare", "finetune"]


def finetune(
    task: TaskName,
    model: Model = "embedded",
    ranks: Annotated[Path | None, typer.Option(help="A ranks.json.")] = None,
    uniform_rank: Annotated[int | None, typer.Option(help="The same rank everywhere.")] = None,
    steps: Steps = 150,
    seed: Seed = 0,
    output: Output = None,
    resume: Resume = False,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = 5e-3,
    max_length: MaxLength = 128,
    queue: Queue = False,
    json_path: Json = None,
) -> None:
    """Fine-tune with given ranks and test once at the end."""
    from adarank_core.data.tasks import load_task
    from adarank_core.files import read_json
    from adarank_core.ranks.allocation import RankPlan

    if (ranks is None) == (uniform_rank is None):
        raise AdaRankError("give either --ranks or --uniform-rank")
    plan = None if ranks is None else RankPlan.from_dict(read_json(ranks))
    loaded = load_task(task, told)
    from adarank_core.comparison.arms import same_rank
    from adarank_core.files import write_json
    from adarank_core.runs import jobs
    from adarank_core.training import checkpoints, finetuning

    settings = finetuning.Settings(steps, batch_size, learning_rate, max_length)
    if plan is None:
        plan = same_rank(model, uniform_rank)
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
        if not _has_turn(watch, queue):
            return
        write_json(folder / "ranks.json", plan.to_dict())
        result = finetuning.finetune(
            model,
            loaded,
            plan,
            settings,
            seed=seed,
            output=folder,
            on_event=watch.record,
            should_stop=watch.should_stop,
        )
        if result is not None:
            result.pop("ranks")  # they stand in ranks.json
            write_json(folder / "result.json", result)
            checkpoints.clear(folder / "checkpoints")
            recorder.record({"event": "result", **result})
    told(f"all that the run made is in {folder}")
    if result is None:
        return
    write(result, json_path)
    if json_path != "-":
        table("test", ("metric", "value"), [(k, f"{v}") for k, v in result.items()])


def compare(
    task: TaskName,
    model: Model = "embedded",
    arms: Annotated[str, typer.Option(help="Names or ranks.json files, with commas.")] = (
        "uniform,adarank"
    ),
    average_rank: Annotated[float, typer.Option(help="Sets every arm's LoRA parameters.")] = 8,
    seeds: Annotated[str, typer.Option(help="Whole numbers, with commas.")] = "0",
    steps: Steps = 150,
    output: Output = None,
    resume: Resume = False,
    trials: Annotated[int | None, typer.Option(help=TRIALS_HELP)] = None,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = 5e-3,
    learning_rates: Annotated[
        str | None,
        typer.Option(help="Instead: with commas, every arm's best of these on validation."),
    ] = None,
    max_length: MaxLength = 128,
    side_by_side: Annotated[
        int, typer.Option(help="Seeds that are trained at the same time, on shared cores.")
    ] = 1,
    queue: Queue = False,
    part: Annotated[bool, typer.Option("--part", hidden=True)] = False,
    json_path: Json = None,
) -> None:
    """Fine-tune several arms with several seeds at equal LoRA parameters, and judge."""
    from adarank_core.comparison import compare as comparison
    from adarank_core.comparison import parallel_seeds as processes
    from adarank_core.comparison import verdicts
    from adarank_core.comparison.learning_rates import check_learning_rates
    from adarank_core.data.tasks import load_task
    from adarank_core.ranks.allocation import check_average_rank
    from adarank_core.runs import jobs

    names = [arm.strip() for arm in arms.split(",") if arm.strip()]
    numbers = _numbers("seeds", seeds, int, "whole numbers such as 0,1,2")
    rates = []
    if learning_rates is not None:
        rates = _numbers("learning_rates", learning_rates, float, "numbers such as 1e-3,5e-3")
        check_learning_rates(rates)
    comparison.check_arms(names, numbers)
    check_average_rank(average_rank)
    processes.check_processes(side_by_side)
    from adarank_core.training.finetuning import Settings  # imports torch: after the checks

    settings = Settings(steps, batch_size, learning_rate, max_length)
    options = {"average_rank": average_rank, "seeds": numbers, "trials": trials}
    options |= {"settings": settings, "learning_rates": rates}
    if part:  # a share of the seeds of another process, which judges
        on_event, should_stop = processes.leash()
        options |= {"output": output, "on_event": on_event, "should_stop": should_stop}
        own = comparison.Comparison(model, load_task(task), names, **options)
        _ = own.search() and own.train()
        return
    config = {
        "command": "compare",
        "model": model,
        "task": task,
        "arms": names,
        **options,
        "settings": vars(settings),
        "side_by_side": side_by_side,
    }
    may_differ = ("arms", "seeds", "side_by_side")
    folder = output_folder(output, config, resume, may_differ) or jobs.new_run_folder("compare")
    with jobs.open_run(folder, config) as recorder, Watch(recorder, steps) as watch:
        if not _has_turn(watch, queue):
            return
        loaded = load_task(task, told)
        options |= {"output": folder}
        options |= {"on_event": watch.record, "should_stop": watch.should_stop}
        if min(side_by_side, len(numbers)) > 1:
            whole = comparison.Comparison(model, loaded, names, **options)
            if not processes.train(whole, task, side_by_side):
                return
        verdict = comparison.compare(model, loaded, names, **options)
    told(f"all that the run made is in {folder}")
    if verdict is None:
        return
    write(verdict.to_dict(), json_path)
    if json_path != "-":
        table(
            f"{verdict.task}, {verdict.model}: means over {len(numbers)} seed(s)",
            ("arm", "LoRA parameters", "test loss", "test accuracy"),
            [
                (
                    name,
                    f"{arm['lora_parameters']:,}",
                    *(f"{_mean(arm, key):.4f}" for key in ("test_loss", "test_accuracy")),
                )
                for name, arm in verdict.arms.items()
            ],
        )
        for compared in verdict.comparisons:
            if compared["metric"] in ("test_loss", "test_accuracy"):
                print(verdicts.describe(compared, len(numbers)))
        for name, why in verdict.failed.items():
            print(f"{name} is not compared: {why}")


def _has_turn(watch: Watch, queue: bool) -> bool:
    """Wait for the run's turn if it is to; False when it was cancelled while it waited.

    One that does not wait is counted where runs are kept, and leaves no trace anywhere else.
    """
    from adarank_core.files import runs_folder
    from adarank_core.runs.run_queue import wait_for_turn

    counted = queue or watch.folder.resolve().parent == runs_folder().resolve()
    return not counted or wait_for_turn(watch, waits=queue)


def _mean(arm: dict, key: str) -> float:
    return sum(run[key] for run in arm["runs"]) / len(arm["runs"])


def _numbers(name: str, text: str, kind: type, such: str) -> list:
    try:
        return [kind(number) for number in text.split(",")]
    except ValueError:
        raise AdaRankError(f"{name} is {text!r}; give {such}") from None
