"""The command line: ``python -m adarank_core``."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from typer._click.exceptions import ClickException  # typer has no public name for it

from adarank_core.errors import AdaRankError

app = typer.Typer(
    help="Which LoRA rank each module of a pretrained model deserves, before any training.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
on_error_stream = Console(stderr=True)


def _place(path: str | None) -> str | None:
    """Refuse a place for the result before anything is computed for it."""
    if path not in (None, "-") and not Path(path).parent.is_dir():
        raise AdaRankError(f"{path!r} cannot be written (there is no such folder)")
    return path


TRIALS_HELP = "Noisy instances a module (fast, 8 by default) or pairs of them (paired, 5)."
Model = Annotated[str, typer.Option(help="'embedded', a Hub id or a local folder.")]
TaskName = Annotated[str, typer.Option(help="'docstrings', a Hub task, a file or a folder.")]
Json = Annotated[
    str | None,
    typer.Option("--json", help="Write the result here; '-' is stdout.", callback=_place),
]
Seed = Annotated[int, typer.Option(help="Draws noise, head, order of data and dropout.")]
Steps = Annotated[int, typer.Option(help="Optimizer steps.")]
Output = Annotated[Path | None, typer.Option(help="Folder for all that the run makes.")]
MaxLength = Annotated[int, typer.Option(help="Longer texts are cut to this many tokens.")]
BatchSize = Annotated[int, typer.Option(help="Texts an optimizer step.")]
LearningRate = Annotated[float, typer.Option(help="Peak of the linear schedule.")]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --output; run what is missing.")
]


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
    from adarank_core import distributed
    from adarank_core import texts as text_sources
    from adarank_core.tasks import load_task

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
        loaded = load_task(task, _told)
        labels, chosen = len(loaded.label_names), loaded.sample_texts(16, seed=seed)
    elif sentence is not None:
        chosen = text_sources.sentence(sentence)
    elif texts is not None:
        chosen = text_sources.texts_from_file(texts)
    else:
        chosen = text_sources.generic_texts()
    from adarank_core.models import adaptable_modules, load_model
    from adarank_core.scoring import matching, score_iter

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
    with _bar(shown=distributed.is_main()) as bar:
        row = bar.add_task("scoring", total=None)
        for progress in steps:
            newest = progress.scores.modules[-1].name
            bar.update(row, completed=progress.done, total=progress.total, description=newest)
    result = distributed.gathered(progress.scores) if distributed.is_split() else progress.scores
    if not distributed.is_main():
        return
    if tolerance is not None:
        _told(
            f"{result.trials} noisy instances a module were taken for a tolerance of {tolerance:g}"
        )
    _write(result.to_dict(), json_path)
    if json_path != "-":
        _table(
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
    from adarank_core import allocation
    from adarank_core.scores import Scores, read_json

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
    _write(plan.to_dict(), json_path)
    if json_path != "-":
        _table(
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


@app.command()
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
    json_path: Json = None,
) -> None:
    """Fine-tune with given ranks and test once at the end."""
    from adarank_core.allocation import RankPlan
    from adarank_core.scores import read_json
    from adarank_core.tasks import load_task

    if (ranks is None) == (uniform_rank is None):
        raise AdaRankError("give either --ranks or --uniform-rank")
    plan = None if ranks is None else RankPlan.from_dict(read_json(ranks))
    loaded = load_task(task, _told)
    from adarank_core import checkpoints, finetuning, jobs
    from adarank_core.arms import same_rank
    from adarank_core.export import write_json

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
    folder = _folder(output, config, resume) or jobs.new_run_folder("finetune")
    if resume and (folder / "result.json").exists():
        raise AdaRankError(f"the run in {str(folder)!r} has finished; there is nothing to resume")
    with jobs.open_run(folder, config) as recorder, _Watch(steps) as watch:
        write_json(folder / "ranks.json", plan.to_dict())

        def on_event(event):
            recorder.record(event)
            watch.show(event)

        result = finetuning.finetune(
            model,
            loaded,
            plan,
            settings,
            seed=seed,
            output=folder,
            on_event=on_event,
            should_stop=recorder.should_stop,
        )
        if result is not None:
            result.pop("ranks")  # they stand in ranks.json
            write_json(folder / "result.json", result)
            checkpoints.clear(folder / "checkpoints")
            recorder.record({"event": "result", **result})
    _told(f"all that the run made is in {folder}")
    if result is None:
        return
    _write(result, json_path)
    if json_path != "-":
        _table("test", ("metric", "value"), [(k, f"{v}") for k, v in result.items()])


@app.command()
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
    max_length: MaxLength = 128,
    json_path: Json = None,
) -> None:
    """Fine-tune several arms with several seeds at equal LoRA parameters, and judge."""
    from adarank_core import comparison, jobs, verdicts
    from adarank_core.allocation import check_average_rank
    from adarank_core.tasks import load_task

    names = [arm.strip() for arm in arms.split(",") if arm.strip()]
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise AdaRankError(f"seeds is {seeds!r}; give whole numbers such as 0,1,2") from None
    comparison.check_arms(names, numbers)
    check_average_rank(average_rank)
    from adarank_core.finetuning import Settings  # imports torch: after the checks

    settings = Settings(steps, batch_size, learning_rate, max_length)
    config = {
        "command": "compare",
        "model": model,
        "task": task,
        "arms": names,
        "seeds": numbers,
        "average_rank": average_rank,
        "trials": trials,
        "settings": vars(settings),
    }
    folder = _folder(output, config, resume, ("arms", "seeds")) or jobs.new_run_folder("compare")
    with jobs.open_run(folder, config) as recorder, _Watch(steps) as watch:

        def on_event(event):
            recorder.record(event)
            watch.show(event)

        loaded = load_task(task, _told)
        verdict = comparison.compare(
            model,
            loaded,
            names,
            output=folder,
            average_rank=average_rank,
            seeds=numbers,
            trials=trials,
            settings=settings,
            on_event=on_event,
            should_stop=recorder.should_stop,
        )
    _told(f"all that the run made is in {folder}")
    if verdict is None:
        return
    _write(verdict.to_dict(), json_path)
    if json_path != "-":
        _table(
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
    from adarank_core.plans import read_plan
    from adarank_core.scores import Scores, read_json

    read = None if scores is None else Scores.from_dict(read_json(scores))
    names = None if read is None else [module.name for module in read.modules]
    if model is not None:
        from adarank_core.models import adaptable_modules, load_model

        names = [module.name for module in adaptable_modules(load_model(model).model)]
    plan = read_plan(ranks, names)
    from adarank_core import export as exporting

    files = exporting.export(plan, output, scores=read)
    result = {"files": [str(file) for file in files]}
    if adapter is not None:
        from adarank_core.portable import portable

        compact, padded = portable(adapter, output / "portable")
        result |= {"compact_bytes": compact, "portable_bytes": padded}
        result["files"] += [
            str(output / "portable" / name)
            for name in ("adapter_config.json", "adapter_model.safetensors")
        ]
    _write(result, json_path)
    if json_path != "-":
        for file in result["files"]:
            print(file)
        if adapter is not None:
            _told(f"the adapter has {compact:,} bytes as it is and {padded:,} bytes portable")


class _Watch:
    """A progress bar for events, on standard error."""

    def __init__(self, steps: int):
        self.bar, self.steps, self.rows = _bar(), steps, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.rows:
            self.bar.stop()

    def show(self, event: dict) -> None:
        if event["event"] not in ("step", "score"):
            return
        scoring = event["event"] == "score"
        name = f"{event.get('arm', 'run')} seed {event.get('seed', '')}".strip()
        name = f"ranks of {name}" if scoring else name
        done, total = (event["done"], event["total"]) if scoring else (event["step"], self.steps)
        if name not in self.rows:
            self.bar.start()  # not before there is something to show
            self.rows[name] = self.bar.add_task(name, total=total)
        loss = "" if scoring else f" · train loss {event['train_loss']:.3f}"
        self.bar.update(self.rows[name], completed=done, description=name + loss)


def _bar(shown: bool = True) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeRemainingColumn(),
        console=on_error_stream,
        disable=not shown,
    )


def _told(message: str, fraction: float | None = None) -> None:
    if fraction is not None and not on_error_stream.is_terminal:
        return  # progress is for who watches, not for a file
    on_error_stream.print(message, highlight=False, markup=False, soft_wrap=True)


def _folder(
    output: Path | None, config: dict, resume: bool, may_differ: tuple[str, ...] = ()
) -> Path | None:
    """Refuse a folder that is in use, or to resume what was asked for otherwise."""
    from adarank_core.scores import read_json

    if resume and output is None:
        raise AdaRankError("--resume needs --output, the folder of the run to go on with")
    if resume:
        old = read_json(output / "config.json")
        for key in config:
            had = old.get(key) if isinstance(old, dict) else None
            if key not in may_differ and had != config[key]:
                raise AdaRankError(
                    f"{key} is {config[key]!r}, but the run in {str(output)!r} had {had!r}; "
                    "resume with the same values"
                )
        return output
    started = ("log.txt", "command.json", "cancel")  # by jobs.start
    if output is None or not output.exists():
        return output
    if not output.is_dir() or any(path.name not in started for path in output.iterdir()):
        raise AdaRankError(
            f"the output folder {str(output)!r} is not empty; give a new one, or --resume to go "
            "on with what is in it"
        )
    return output


def _write(data: dict, path: str | None) -> None:
    if path is None:
        return
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise AdaRankError(f"{path!r} cannot be written ({error.strerror})") from None


def _table(title: str, columns, rows) -> None:
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _mean(arm: dict, key: str) -> float:
    return sum(run[key] for run in arm["runs"]) / len(arm["runs"])


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
