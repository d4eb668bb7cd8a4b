"""Arms × seeds → verdict: is one way of choosing ranks better than another, or can nobody tell?"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from adarank_core.comparison.arms import ARMS, Planned, Planner, check_arms, file_name
from adarank_core.comparison.learning_rates import best_rate, check_learning_rates
from adarank_core.comparison.verdicts import Verdict, verdict_of
from adarank_core.errors import AdaRankError
from adarank_core.files import read_json, write_json
from adarank_core.ranks.allocation import RankPlan

__all__ = ["ARMS", "Comparison", "Verdict", "check_arms", "compare"]


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
    learning_rates: Sequence[float] = (),
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
    learning_rates : sequence of float
        1 to 10 rates, in place of the settings' own. Every arm is first trained with the first
        seed at each of them; the one with the lowest loss on all validation texts is the arm's
        for all seeds. The test texts are not touched in this search. A rate whose loss is no
        number is out.
    on_event : callable
        Called with the events of `finetune`, each with ``arm`` and ``seed``, and with
        ``"plan"`` (``budget``, and ``residual``, how many LoRA parameters the arm is short of),
        ``"score"`` (``done``, ``total``), ``"result"`` and ``"arm-failed"`` (``message``) events.
        Trainings of the search have ``search``, the rate; ``"chosen"`` ends an arm's
        (``learning_rate``, ``search_seconds``, ``validation_loss`` by rate).
    should_stop : callable
        Asked after every step and module; when it says so the result is None.

    Returns
    -------
    Verdict or None
        With ``learning_rates`` its arms have ``learning_rate`` and ``search_seconds`` too.

    Raises
    ------
    AdaRankError
        If an arm is unknown, a seed, an arm or a learning rate is given twice or is out of range,
        the folder holds what was asked for otherwise, or no arm can be run.
    OSError
        If the folder cannot be written, as on a full disk; what has finished stays.

    Examples
    --------
    >>> from adarank_core import load_task
    >>> task = load_task("docstrings")                                            # doctest: +SKIP
    >>> compare("embedded", task, seeds=(0, 1, 2), output="run").comparisons      # doctest: +SKIP
    """
    comparison = Comparison(
        model,
        task,
        arms,
        output=output,
        average_rank=average_rank,
        seeds=seeds,
        trials=trials,
        settings=settings,
        learning_rates=learning_rates,
        on_event=on_event,
        should_stop=should_stop,
    )
    if not (comparison.search() and comparison.train()):
        return None
    return comparison.verdict()


class Comparison:
    """A comparison, step by step: what `compare` does, for who wants to come between.

    `search` comes first, then `train`, then `verdict`. What the folder holds already is taken
    over at each step.

    Parameters
    ----------
    model, task, arms, output, average_rank, seeds, trials, settings, learning_rates
        See `compare`.
    on_event, should_stop : callable

    Raises
    ------
    AdaRankError
        As `compare`, before anything is trained.
    """

    def __init__(
        self,
        model: str,
        task,
        arms: Sequence[str],
        *,
        output: str | Path,
        average_rank: float,
        seeds: Sequence[int],
        trials: int | None,
        settings,
        learning_rates: Sequence[float] = (),
        on_event: Callable[[dict], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        from adarank_core.training.adapters import check_plan
        from adarank_core.training.finetuning import Settings, task_sha256

        self.model, self.task, self.arms, self.seeds = model, task, arms, seeds
        self.output, self.settings = Path(output), settings or Settings()
        self.learning_rates = [float(rate) for rate in learning_rates]
        self.on_event, self.should_stop = on_event, should_stop
        check_arms(arms, seeds)
        if self.learning_rates:
            check_learning_rates(self.learning_rates)
        if trials is not None and trials < 2:
            raise AdaRankError(f"trials is {trials}; an error bar needs at least 2")
        self.planner = Planner(
            model,
            task,
            average_rank,
            trials=trials,
            max_length=self.settings.max_length,
            output=self.output,
            on_event=on_event,
            should_stop=should_stop,
        )
        for arm in arms:
            if arm.endswith(".json"):
                check_plan(self.planner.bundle, RankPlan.from_dict(read_json(arm)))
        asked = {
            "model": model,
            "task": task.name,
            "task_sha256": task_sha256(task),
            "average_rank": average_rank,
            "trials": trials,
            "settings": vars(self.settings),
            "learning_rates": self.learning_rates or None,
        }
        # Later calls may have other seeds; an arm's rate must stay what its results had.
        self.search_seed = _claim(self.output, asked, seeds[0])
        self.chosen: dict[str, dict] = {}
        self.runs: dict[str, list[dict]] = {arm: [] for arm in arms}
        self.failed: dict[str, str] = {}

    def search(self) -> bool:
        """Choose every arm's learning rate, where several are given; False when stopped."""
        for arm in self.arms if self.learning_rates else ():
            try:
                chosen = best_rate(self.learning_rates, partial(self._try, arm))
            except AdaRankError as error:
                self._give_up(arm, self.search_seed, error)
                continue
            if chosen is None:
                return False
            self.chosen[arm] = chosen
            self.on_event({"event": "chosen", "arm": arm, "seed": self.search_seed, **chosen})
        return True

    def train(self) -> bool:
        """Train every arm with every seed, and test it; False when stopped."""
        for seed in self.seeds:
            for arm in self.arms:
                if arm in self.failed:
                    continue
                try:
                    run = self._run(arm, seed)
                except AdaRankError as error:
                    self._give_up(arm, seed, error)
                    continue
                if run is None:
                    return False
                told = {key: value for key, value in run.items() if key != "ranks"}
                self.on_event({"event": "result", "arm": arm, **told})
                self.runs[arm].append(run)
        return True

    def verdict(self) -> Verdict:
        """Judge what was trained, and write it into the folder."""
        if len(self.failed) == len(self.arms):
            arm, why = next(iter(self.failed.items()))
            raise AdaRankError(f"the arm {arm!r} failed with {why}")
        done = {
            arm: _summary(self.runs[arm], self.chosen.get(arm))
            for arm in self.arms
            if arm not in self.failed
        }
        verdict = verdict_of(self.task.name, self.model, done, self.failed)
        write_json(self.output / "verdict.json", verdict.to_dict())
        return verdict

    def _give_up(self, arm: str, seed: int, error: AdaRankError) -> None:
        self.failed[arm] = f"seed {seed}: {error}"
        self.on_event({"event": "arm-failed", "arm": arm, "seed": seed, "message": str(error)})

    def _try(self, arm: str, rate: float) -> dict | None:
        """Train an arm at one learning rate of the search, without its test; None when stopped."""
        from adarank_core.training.callbacks import NotFiniteError

        folder = self.output / "runs" / f"{file_name(arm)}-search-{rate}"
        if (kept := _kept(folder)) is not None:
            return kept
        planned = self.planner.plan(arm, self.search_seed)
        if planned is None:
            return None
        about = {"arm": arm, "seed": self.search_seed, "search": rate}
        settings = replace(self.settings, learning_rate=rate)
        started = time.perf_counter()
        try:
            result = self._finetune(planned, settings, folder, about, measure="validation")
        except NotFiniteError:
            seconds = round(time.perf_counter() - started, 3)
            result = {"validation_loss": None, "train_seconds": seconds}
        return None if result is None else _keep(folder, result)

    def _run(self, arm: str, seed: int) -> dict | None:
        """Train an arm with a seed, or take over what it came to; None when stopped."""
        folder = self.output / "runs" / f"{file_name(arm)}-seed{seed}"
        if (kept := _kept(folder)) is not None:
            return kept
        planned = self.planner.plan(arm, seed)
        if planned is None:
            return None
        about = {"arm": arm, "seed": seed}
        parameters, residual = self.planner.size_of(planned.plan)
        budget = {**(planned.plan.budget if planned.plan else {}), "lora_parameters": parameters}
        self.on_event({"event": "plan", **about, "budget": budget, "residual": residual})
        folder.mkdir(parents=True, exist_ok=True)
        if planned.plan is not None:
            write_json(folder / "ranks.json", planned.plan.to_dict())
        settings = self.settings
        if arm in self.chosen:
            settings = replace(settings, learning_rate=self.chosen[arm]["learning_rate"])
        result = self._finetune(planned, settings, folder, about)
        if result is None:
            return None
        return _keep(folder, {**result, "allocation_seconds": planned.seconds})

    def _finetune(self, planned: Planned, settings, folder: Path, about: dict, **options):
        from adarank_core.training import finetuning

        return finetuning.finetune(
            self.model,
            self.task,
            planned.plan,
            settings,
            method=planned.method,
            seed=about["seed"],
            output=folder,
            on_event=lambda event: self.on_event({**event, **about}),
            should_stop=self.should_stop,
            **options,
        )


def _claim(output: Path, asked: dict, search_seed: int) -> int:
    """Keep what is asked for in the folder; refuse one that was asked for something else.

    Returns the seed that learning rates are searched with there.
    """
    path = output / "comparison.json"
    if not path.exists():
        output.mkdir(parents=True, exist_ok=True)
        write_json(path, {**asked, "search_seed": search_seed})
        return search_seed
    had = read_json(path)
    for key, value in asked.items():
        before = had.get(key) if isinstance(had, dict) else None
        if before != value:
            what = "the task's rows are others"
            if key != "task_sha256":
                what = f"{key} is {value!r}"
            raise AdaRankError(
                f"{what}, but {str(output)!r} holds results with {before!r}; give another "
                "folder, or the same values"
            )
    return had.get("search_seed", search_seed)


def _kept(folder: Path) -> dict | None:
    """Return what a training came to, if it was done before."""
    from adarank_core.training import checkpoints

    if not (folder / "result.json").exists():
        return None
    checkpoints.clear(folder / "checkpoints")  # of a process killed right after its last word
    return read_json(folder / "result.json")


def _keep(folder: Path, result: dict) -> dict:
    """Keep what a training came to, in place of its checkpoints."""
    from adarank_core.training import checkpoints

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "result.json", result)
    checkpoints.clear(folder / "checkpoints")
    return result


def _summary(runs: list[dict], chosen: dict | None) -> dict:
    """Put an arm's runs together as a verdict has them."""
    own = ("lora_parameters", "ranks", "allocation_seconds")
    seconds = [run["allocation_seconds"] for run in runs]
    searched = {key: chosen[key] for key in ("learning_rate", "search_seconds")} if chosen else {}
    return {
        "lora_parameters": runs[0]["lora_parameters"],
        "ranks": runs[0]["ranks"],
        "runs": [{key: run[key] for key in run if key not in own} for run in runs],
        "allocation_seconds": round(sum(seconds) / len(seconds), 3),
        **searched,
    }
