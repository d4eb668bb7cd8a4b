"""The commands that train: ``finetune`` and ``compare``."""

from pathlib import Path
from typing import Annotated

import typer

from adarank_core.commands.options import (
    TRIALS_HELP,
    BatchSize,
    Device,
    Dtype,
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
from adarank_core.comparison import parallel_seeds
from adarank_core.comparison.arms import ARMS, has_lora, is_matched
from adarank_core.comparison.learning_rates import AUTO, at_edge, edge_notice, extends
from adarank_core.comparison.sentences import describe, of_interest, why_no_verdict, word_of
from adarank_core.comparison.verdicts import METRIC_NAMES
from adarank_core.errors import AdaRankError, printable
from adarank_core.files import read_json, runs_folder, write_json
from adarank_core.kept import keep, kept
from adarank_core.limits import check_model_name
from adarank_core.numerals import signed
from adarank_core.ranks.plans import RankPlan
from adarank_core.runs import jobs
from adarank_core.runs.run_queue import take_gpu, wait_for_turn
from adarank_core.training.settings import Settings
from adarank_core.workers import connect_to_parent

__all__ = ["compare", "finetune", "has_turn"]

EXPLORATORY = (
    "This is look {looks} at this comparison, so it is exploratory: a verdict on other seeds, arms "
    "or a smallest difference was read before it. It is decided at a level of {level}, and a new "
    "comparison with all seeds from the start would confirm it."
)


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
    device: Device = Settings.device,
    dtype: Dtype = Settings.dtype,
    queue: Queue = False,
    json_path: Json = None,
) -> None:
    """Fine-tune with given ranks and test once at the end."""
    from adarank_core.comparison.inputs import keep_input, model_path

    refuse_inputs(json_path, task, ranks, model)
    model = model_path(model)
    if (ranks is None) == (uniform_rank is None):
        raise AdaRankError("give either --ranks or --uniform-rank")
    if uniform_rank is not None and uniform_rank < 1:
        raise AdaRankError(f"the uniform rank is {uniform_rank}; it must be at least 1")
    settings = Settings(steps, batch_size, learning_rate, max_length, device=device, dtype=dtype)
    settings.check_limits()
    check_model_name(model)
    plan = None if ranks is None else _kept_plan(ranks, output if resume else None)
    config = {
        "command": "finetune",
        "model": model,
        "task": task,
        "plan": plan and plan.to_dict(),
        "uniform_rank": uniform_rank,
        "settings": settings.to_dict(),
        "seed": seed,
    }
    # Equal ranks become a plan once the model is loaded.
    may_differ = ("plan",) if plan is None else ()
    folder = output_folder(output, config, resume, may_differ) or jobs.new_run_folder("finetune")
    notice = _finished_before(folder, config)
    goes_on = (folder / "events.jsonl").exists()
    with jobs.open_run(folder, config) as recorder, Watch(recorder, steps, goes_on) as watch:
        if notice:
            watch.record({"event": "notice", "message": notice})
        task = keep_input(folder, task)
        if not has_turn(watch, queue, device):
            return
        facts = _finetune(config, task, watch)
        if facts is not None:
            recorder.record({"event": "result", **facts})
    print_status(f"all that the run made is in {folder}")
    if facts is None:
        return
    write(facts, json_path)
    if json_path != "-":
        # Of more than two classes there is no AUC.
        told = [(name, _shown(value)) for name, value in facts.items() if value is not None]
        table("test", ("metric", "value"), told)


def _shown(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"


def _kept_plan(ranks: Path, folder: Path | None) -> RankPlan:
    """Read the plan that is given, or where it is gone the copy in the run's folder."""
    if folder is not None and not ranks.exists() and (folder / "ranks.json").exists():
        ranks = folder / "ranks.json"
    return RankPlan.from_dict(read_json(ranks))


def _finished_before(folder: Path, config: dict) -> str:
    """Refuse a run that has finished; return what is to be said of a result that is not its own."""
    try:
        done = kept(folder / "result.json", config) is not None
    except AdaRankError as error:
        return f"the run is trained anew: {error}"
    if done:
        raise AdaRankError(f"the run in {str(folder)!r} has finished; there is nothing to resume")
    return ""


def _finetune(config: dict, task: str, watch: Watch) -> dict | None:
    """Train as a run's configuration asks, and keep the result; None when stopped."""
    from adarank_core.data.tasks import load_task
    from adarank_core.training import checkpoints, finetuning

    loaded, folder = load_task(task, print_status), watch.folder
    if watch.should_stop():
        return None
    if config["plan"] is None:
        plan = _same_rank(config["model"], config["uniform_rank"])
        watch.recorder.write_config({**config, "plan": plan.to_dict()})
    else:
        plan = RankPlan.from_dict(config["plan"])
    write_json(folder / "ranks.json", plan.to_dict())
    settings = Settings(**config["settings"])
    training = finetuning.Training(config["model"], loaded, plan, settings, seed=config["seed"])
    callbacks = {"on_event": watch.record, "should_stop": watch.should_stop}
    result = finetuning.train(training, output=folder, **callbacks)
    if result is None:
        return None
    facts = result.to_dict()
    del facts["ranks"]  # they stand in ranks.json
    keep(folder / "result.json", facts, config)
    checkpoints.clear(folder / "checkpoints")
    return facts


def _same_rank(model: str, rank: int) -> RankPlan:
    """Return the plan of equal ranks, and say which modules are too small for them."""
    from adarank_core.comparison.planner import same_rank

    plan = same_rank(model, rank)
    cut = [name for name, given in plan.ranks.items() if given < rank]
    if cut:
        print_status(
            f"rank {rank} is cut to the size of {len(cut)} of {len(plan.ranks)} modules, such as "
            f"{cut[0]!r}, which gets {plan.ranks[cut[0]]}"
        )
    return plan


def compare(
    task: TaskName,
    model: Model = "embedded",
    arms: Annotated[
        str, typer.Option(help=f"With commas: ranks.json files, and of {', '.join(ARMS)}.")
    ] = ("uniform,adarank"),
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
        typer.Option(
            help="Instead: every arm's best of these (with commas) on validation; 'auto' goes on "
            "until the best is not at the end."
        ),
    ] = None,
    max_length: MaxLength = Settings.max_length,
    device: Device = Settings.device,
    dtype: Dtype = Settings.dtype,
    side_by_side: Annotated[
        int, typer.Option(help="Seeds that are trained at the same time, on shared cores.")
    ] = 1,
    alpha: Annotated[
        str,
        typer.Option(help="'proportional', 'constant' or 'rslora'; a ranks.json keeps its own."),
    ] = "proportional",
    metric: Annotated[
        str,
        typer.Option(
            help="The primary one, which the verdict is about: test_loss, test_accuracy, macro_f1 "
            "or auc."
        ),
    ] = "test_loss",
    smallest_of_interest: Annotated[
        float | None,
        typer.Option(
            help="A difference in the metric below this matters to nobody; without it, a tenth of "
            "what uniform gains over head-only, where both are arms."
        ),
    ] = None,
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
    if learning_rates == AUTO:
        rates = AUTO
    elif learning_rates is not None:
        rates = _numbers("learning_rates", learning_rates, float, "numbers such as 1e-3,5e-3")
    settings = Settings(steps, batch_size, learning_rate, max_length, device=device, dtype=dtype)
    request = ComparisonRequest(
        *(model_path(model), task, names, average_rank, numbers, trials, settings, rates),
        side_by_side=side_by_side,
        alpha=alpha,
        metric=metric,
        smallest_of_interest=smallest_of_interest,
    )
    refuse_inputs(json_path, model, *request.inputs)
    request.check(output if resume else None)
    verdict = _run_comparison(request, output, resume, queue)
    if verdict is not None:
        write(verdict.to_dict(), json_path)
        if json_path != "-":
            _print_verdict(verdict)


def _train_part(
    task: str, arms: tuple[str, ...], seeds: tuple[int, ...], output: Path | None
) -> None:
    """Train a share of the seeds of another process, which judges."""
    from adarank_core.comparison.compare import Comparison, read_request
    from adarank_core.data.tasks import load_task

    if output is None:
        raise AdaRankError("--part is given to processes that compare starts, with its --output")
    on_event, should_stop = connect_to_parent()
    callbacks = {"on_event": on_event, "should_stop": should_stop}
    request = read_request(output, arms, seeds)
    comparison = Comparison(request, load_task(task), output=output, **callbacks)
    _ = comparison.search() and comparison.train()


def _run_comparison(request, output: Path | None, resume: bool, queue: bool):
    """Run a comparison in its folder; None when stopped."""
    from adarank_core.comparison.compare import Comparison
    from adarank_core.comparison.inputs import keep_input
    from adarank_core.data.tasks import load_task

    config = request.to_dict()
    may_differ = ("arms", "seeds", "side_by_side", "smallest_of_interest")
    if resume and output is not None and (output / "config.json").exists():
        had = read_json(output / "config.json")
        if isinstance(had, dict) and extends(config["learning_rates"], had.get("learning_rates")):
            may_differ += ("learning_rates",)
    folder = output_folder(output, config, resume, may_differ) or jobs.new_run_folder("compare")
    steps, workers = request.settings.steps, min(request.side_by_side, len(request.seeds))
    with jobs.open_run(folder, config) as recorder, Watch(recorder, steps) as watch:
        task, *_ = [keep_input(folder, name) for name in request.inputs]
        if not has_turn(watch, queue, request.settings.device):
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


def _print_verdict(verdict) -> None:
    from adarank_core.comparison.tables import mean_over_runs

    def larger(arm: str) -> bool:
        return has_lora(arm) and not is_matched(arm)

    metrics = dict.fromkeys((verdict.primary_metric, "test_loss", "test_accuracy"))
    searched = ["learning rate"] * any("learning_rate" in arm for arm in verdict.arms.values())
    of_runs = ("seeds", "LoRA parameters", *(METRIC_NAMES[metric] for metric in metrics))
    table(
        f"{verdict.task}, {verdict.model}: means over seeds",
        ("arm", *searched, *of_runs),
        [
            (
                name,
                *(f"{arm['learning_rate']:g}" for _ in searched),
                str(len(arm["runs"])),
                f"{arm['lora_parameters']:,}" + (" (not matched)" if larger(name) else ""),
                *(f"{mean_over_runs(arm['runs'], metric):.4f}" for metric in metrics),
            )
            for name, arm in verdict.arms.items()
        ],
    )
    if verdict.comparisons and verdict.seeds > 1:
        _print_comparisons(verdict)
    for compared in verdict.primary:
        print(printable(describe(compared, verdict)))
    if interest := of_interest(verdict):
        print(printable(f"{interest[0].upper()}{interest[1:]}"))
    for name, why in verdict.failed.items():
        print(printable(f"{name} is not compared: {why}"))
    for name in at_edge(verdict.arms):
        print(printable(edge_notice(name)))
    if why := why_no_verdict(verdict):
        print(printable(why))
    if verdict.exploratory:
        print(EXPLORATORY.format(looks=len(verdict.looks), level=verdict.level))


def _print_comparisons(verdict) -> None:
    """Print all differences with both intervals; about secondary metrics nothing is claimed."""
    level = f"{100 * (1 - verdict.level):.6g}%"
    table(
        f"differences, and their {level} intervals for other seeds, and for other test texts too",
        ("metric", "pair", "difference", "seeds", "seeds and texts", "needed", "verdict"),
        [
            (
                METRIC_NAMES[compared["metric"]],
                f"{compared['arm']} − {compared['against']}",
                signed(compared["difference"], 4),
                _interval(compared, ""),
                _interval(compared, "_texts"),
                "" if compared["seeds_needed"] is None else f"{compared['seeds_needed']:,}",
                word_of(compared, verdict),
            )
            for compared in verdict.comparisons
        ],
    )


def _interval(compared: dict, of: str) -> str:
    low, high = compared[f"ci_low{of}"], compared[f"ci_high{of}"]
    return "" if low is None else f"{signed(low)} to {signed(high)}"


def has_turn(watch: Watch, queue: bool, device: str) -> bool:
    """Wait for the run's turn if it is to; False when it was cancelled while it waited.

    One that does not wait is counted where runs are kept, and leaves no trace anywhere else.

    Parameters
    ----------
    watch : Watch
    queue : bool
        Whether it waits.
    device : str
        With ``"auto"`` the process then sees one GPU alone, a free one where there is any.
    """
    counted = queue or watch.folder.resolve().parent == runs_folder().resolve()
    if counted and not wait_for_turn(watch, waits=queue):
        return False
    if counted and device == "auto":
        take_gpu(watch.folder)
    watch.recorder.start_clock()
    return True


def _numbers(name: str, text: str, kind: type, example: str) -> tuple:
    try:
        return tuple(kind(number) for number in text.split(","))
    except ValueError:
        raise AdaRankError(f"{name} is {text!r}; give {example}") from None
