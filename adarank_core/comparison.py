"""Arms × seeds → verdict: is one way of choosing ranks better than another, or can nobody tell?"""

from collections.abc import Callable, Sequence
from pathlib import Path

from adarank_core.allocation import RankPlan
from adarank_core.arms import ARMS, Planner, check_arms, file_name
from adarank_core.errors import AdaRankError
from adarank_core.export import write_json
from adarank_core.scores import read_json
from adarank_core.verdicts import Verdict, verdict_of

__all__ = ["ARMS", "Verdict", "check_arms", "compare"]


def compare(
    model: str,
    task,
    arms: Sequence[str] = ("uniform", "adarank"),
    *,
    output: str | Path,
    average_rank: float = 8,
    seeds: Sequence[int] = (0,),
    trials: int | None = None,
    settings=None,
    on_event: Callable[[dict], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Verdict | None:
    """Fine-tune every arm with every seed at equal LoRA parameters, and judge.

    An arm whose ranks cannot be had, whose loss is no number or that runs out of memory is given
    up with its reason, and the others go on.

    Parameters
    ----------
    model : str
        Name for `load_model`.
    task : Task
    arms : sequence of str
        Keys of `ARMS`, or paths of ``ranks.json`` files. The first is what the others are held
        against, unless ``"uniform"`` is among them.
    output : str or pathlib.Path
        Folder for scores, ranks, adapters, results and ``verdict.json``. What an earlier call
        with the same arguments left there is taken over, a run that was broken off from its last
        checkpoint.
    average_rank : float
        Every arm gets the LoRA parameters that this rank everywhere would have.
    seeds : sequence of int
        A seed draws the head (for scores and training), noise, order of data and dropout.
    trials : int, optional
        Noisy instances a module, for the arms that score; see `score_iter`.
    settings : Settings, optional
    on_event : callable
        Called with the events of `finetune`, each with ``arm`` and ``seed``, and with
        ``"plan"`` (``budget``, and ``residual``, how many LoRA parameters the arm is short of),
        ``"score"`` (``done``, ``total``), ``"result"`` and ``"arm-failed"`` (``message``) events.
    should_stop : callable
        Asked after every step and module; when it says so the result is None.

    Returns
    -------
    Verdict or None

    Raises
    ------
    AdaRankError
        If an arm is unknown, a seed or an arm is given twice, the folder holds what was asked for
        otherwise, or no arm can be run.
    OSError
        If the folder cannot be written, as on a full disk; what has finished stays.

    Examples
    --------
    >>> from adarank_core import load_task
    >>> task = load_task("docstrings")                                            # doctest: +SKIP
    >>> compare("embedded", task, seeds=(0, 1, 2), output="run").comparisons      # doctest: +SKIP
    """
    from adarank_core.finetuning import Settings, task_sha256
    from adarank_core.methods import check_plan

    settings = settings or Settings()
    check_arms(arms, seeds)
    if trials is not None and trials < 2:
        raise AdaRankError(f"trials is {trials}; an error bar needs at least 2")
    output = Path(output)
    planner = Planner(
        model,
        task,
        average_rank,
        trials=trials,
        max_length=settings.max_length,
        output=output,
        on_event=on_event,
        should_stop=should_stop,
    )
    for arm in arms:
        if arm.endswith(".json"):
            check_plan(planner.bundle, RankPlan.from_dict(read_json(arm)))
    _claim(
        output,
        {
            "model": model,
            "task": task.name,
            "task_sha256": task_sha256(task),
            "average_rank": average_rank,
            "trials": trials,
            "settings": vars(settings),
        },
    )
    runs: dict[str, list[dict]] = {arm: [] for arm in arms}
    failed: dict[str, str] = {}
    for seed in seeds:
        for arm in arms:
            if arm in failed:
                continue
            try:
                run = _run(planner, model, task, settings, arm, seed)
            except AdaRankError as error:
                failed[arm] = f"seed {seed}: {error}"
                on_event({"event": "arm-failed", "arm": arm, "seed": seed, "message": str(error)})
                continue
            if run is None:
                return None
            told = {key: value for key, value in run.items() if key != "ranks"}
            on_event({"event": "result", "arm": arm, **told})
            runs[arm].append(run)
    if len(failed) == len(arms):
        arm, why = next(iter(failed.items()))
        raise AdaRankError(f"the arm {arm!r} failed with {why}")
    done = {arm: _summary(of_arm) for arm, of_arm in runs.items() if arm not in failed}
    verdict = verdict_of(task.name, model, done, failed)
    write_json(output / "verdict.json", verdict.to_dict())
    return verdict


def _claim(output: Path, asked: dict) -> None:
    """Keep what is asked for in the folder; refuse one that was asked for something else."""
    path = output / "comparison.json"
    if path.exists():
        had = read_json(path)
        for key, value in asked.items():
            before = had.get(key) if isinstance(had, dict) else None
            if before != value:
                what = (
                    "the task's rows are others"
                    if key == "task_sha256"
                    else (f"{key} is {value!r}")
                )
                raise AdaRankError(
                    f"{what}, but {str(output)!r} holds results with {before!r}; give another "
                    "folder, or the same values"
                )
    output.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)


def _run(planner: Planner, model: str, task, settings, arm: str, seed: int) -> dict | None:
    """Train an arm with a seed, or take over what it came to; None when stopped."""
    from adarank_core import checkpoints, finetuning

    folder = planner.output / "runs" / f"{file_name(arm)}-seed{seed}"
    if (folder / "result.json").exists():
        checkpoints.clear(folder / "checkpoints")  # of a process killed right after its last word
        return read_json(folder / "result.json")
    planned = planner.plan(arm, seed)
    if planned is None:
        return None
    about = {"arm": arm, "seed": seed}
    parameters, residual = planner.size_of(planned.plan)
    budget = {**(planned.plan.budget if planned.plan else {}), "lora_parameters": parameters}
    planner.on_event({"event": "plan", **about, "budget": budget, "residual": residual})
    folder.mkdir(parents=True, exist_ok=True)
    if planned.plan is not None:
        write_json(folder / "ranks.json", planned.plan.to_dict())
    result = finetuning.finetune(
        model,
        task,
        planned.plan,
        settings,
        method=planned.method,
        seed=seed,
        output=folder,
        on_event=lambda event: planner.on_event({**event, **about}),
        should_stop=planner.should_stop,
    )
    if result is None:
        return None
    result["allocation_seconds"] = planned.seconds
    write_json(folder / "result.json", result)
    checkpoints.clear(folder / "checkpoints")
    return result


def _summary(runs: list[dict]) -> dict:
    """Put an arm's runs together as a verdict has them."""
    own = ("lora_parameters", "ranks", "allocation_seconds")
    seconds = [run["allocation_seconds"] for run in runs]
    return {
        "lora_parameters": runs[0]["lora_parameters"],
        "ranks": runs[0]["ranks"],
        "runs": [{key: run[key] for key in run if key not in own} for run in runs],
        "allocation_seconds": round(sum(seconds) / len(seconds), 3),
    }
