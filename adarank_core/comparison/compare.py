"""Arms × seeds → verdict: is one way of choosing ranks better than another, or can nobody tell?"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Literal

from adarank_core.comparison.arms import file_name
from adarank_core.comparison.entries import ClaimEntry
from adarank_core.comparison.inputs import input_path, keep_input
from adarank_core.comparison.judging import verdict_of
from adarank_core.comparison.learning_rates import (
    AUTO,
    SEARCH_SEEDS,
    ChosenRate,
    Trial,
    best_rate,
    extends,
    first_rates,
)
from adarank_core.comparison.looks import count_look
from adarank_core.comparison.planner import Planned, Planner
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.comparison.verdicts import Verdict
from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import read_json, write_json
from adarank_core.kept import keep, kept
from adarank_core.ranks.plans import RankPlan
from adarank_core.schemas import validated
from adarank_core.training.results import RunResult
from adarank_core.training.settings import Settings
from adarank_core.training.text_results import read_text_results

__all__ = ["Comparison", "Verdict", "compare", "read_request"]


OTHERS = {
    "task_sha256": "the task's rows are others",
    "model_sha256": "the model's weights are others",
}
#: What folders of older versions were asked for without a word.
UNSAID = {"alpha": "proportional", "metric": "test_loss"}


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
    learning_rates: Sequence[float] | Literal["auto"] = (),
    alpha: str = "proportional",
    metric: str = "test_loss",
    smallest_of_interest: float | None = None,
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
    learning_rates : sequence of float or "auto"
        1 to 10 rates, in place of the settings' own. Every arm is first trained at each of them
        with two seeds that are none of ``seeds``; the one with the lowest mean loss on all
        validation texts is the arm's for all seeds. The test texts are not touched in this
        search. A rate whose loss is no number is out. ``"auto"`` begins with three rates around
        the settings' own, and goes on by factors of 2 until the best is not at the end. A later
        call may add rates.
    alpha : {"proportional", "constant", "rslora"}
        How alpha follows from the ranks, for all arms but a ``ranks.json``, which keeps its own:
        twice each rank, or one alpha for all modules of all arms, which LoRA divides by the rank
        or by its root.
    metric : {"test_loss", "test_accuracy", "macro_f1", "auc"}
        The primary one, which the verdict is about; see `verdict_of`.
    smallest_of_interest : float, optional
        A difference in it below this one matters to nobody. Without it, a tenth of what
        ``"uniform"`` gains over ``"head-only"``, where both are arms. A verdict on other seeds or
        arms than the last one in the folder, or with another such difference, counts as another
        look, and is exploratory.
    on_event : callable
        Called with the events of `finetune`, each with ``arm`` and ``seed``, and with
        ``"plan"`` (``budget``, and ``residual``, how many LoRA parameters the arm is short of),
        ``"score"`` (``done``, ``total``), ``"result"``, ``"arm-failed"`` (``message``) and
        ``"notice"`` (``message``: what of the folder is not taken over, and why) events.
        Trainings of the search have ``search``, the rate; ``"chosen"`` ends an arm's
        (what `ChosenRate` holds).
    should_stop : callable
        Asked after every step and module; when it says so the result is None.

    Returns
    -------
    Verdict or None
        With ``learning_rates`` its arms have what `ChosenRate` holds too.

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
    settings = settings or Settings()
    rates = AUTO if learning_rates == AUTO else map(float, learning_rates)
    request = ComparisonRequest(
        *(model, task.name, arms, average_rank, seeds, trials, settings, rates),
        alpha=alpha,
        metric=metric,
        smallest_of_interest=smallest_of_interest,
    )
    callbacks = {"on_event": on_event, "should_stop": should_stop}
    comparison = Comparison(request, task, output=Path(output), **callbacks)
    if not (comparison.search() and comparison.train()):
        return None
    return comparison.verdict()


class Comparison:
    """A comparison, step by step: what `compare` does, for who wants to come between.

    `search` comes first, then `train`, then `verdict`. What the folder holds already is taken
    over at each step.

    Parameters
    ----------
    request : ComparisonRequest
    task : Task
        What the request's task is.
    output : pathlib.Path
    on_event, should_stop : callable
        See `compare`.

    Raises
    ------
    AdaRankError
        As `compare`, before anything is trained.
    """

    def __init__(
        self,
        request: ComparisonRequest,
        task,
        *,
        output: Path,
        on_event: Callable[[dict], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        from adarank_core.training.adapters import check_plan
        from adarank_core.training.objectives import objective_for

        self.request, self.task, self.output = request, task, output
        self.on_event, self.should_stop = on_event, should_stop
        request.check(output)
        objective = objective_for(task)
        objective.check_metric(request.metric)
        callbacks = {"on_event": on_event, "should_stop": should_stop}
        self.planner = Planner(request, objective, output=output, **callbacks)
        plans = [arm for arm in request.arms if arm.endswith(".json")]
        for arm in plans:
            check_plan(self.planner.bundle, RankPlan.from_dict(read_json(input_path(output, arm))))
        # Later calls may have other seeds; an arm's rate must stay what its results had.
        self.asked = _asked(request, task.name, self.planner)
        self.search_seeds = _claim(_wanted(request, self.asked), request.seeds, output)
        for arm in plans:
            keep_input(output, arm)
        self.chosen: dict[str, ChosenRate] = {}
        self.runs: dict[str, list[RunResult]] = {arm: [] for arm in request.arms}
        self.failed: dict[str, str] = {}

    def search(self) -> bool:
        """Choose every arm's learning rate, where several are given; False when stopped."""
        asked, around = self.request.learning_rates, self.request.settings.learning_rate
        rates, grows = first_rates(asked, around), asked == AUTO
        for arm in self.request.arms if rates else ():
            about = {"arm": arm, "seed": self.search_seeds[0]}
            try:
                chosen = best_rate(rates, partial(self._trial, arm), self.search_seeds, grows)
            except AdaRankError as error:
                self._give_up(arm, about["seed"], error)
                continue
            if chosen is None:
                return False
            self.chosen[arm] = chosen
            self.on_event({"event": "chosen", **about, **asdict(chosen)})
        return True

    def train(self) -> bool:
        """Train every arm with every seed, and test it; False when stopped."""
        for seed in self.request.seeds:
            for arm in self.request.arms:
                if arm in self.failed:
                    continue
                try:
                    result = self._result(arm, seed)
                except AdaRankError as error:
                    self._give_up(arm, seed, error)
                    continue
                if result is None:
                    return False
                facts = result.to_dict()
                del facts["ranks"]  # they stand in ranks.json
                self.on_event({"event": "result", "arm": arm, **facts})
                self.runs[arm].append(result)
        return True

    def verdict(self) -> Verdict:
        """Judge what was trained, and write it into the folder."""
        arms = [arm for arm in self.request.arms if arm not in self.failed]
        if not arms:
            arm, why = next(iter(self.failed.items()))
            raise AdaRankError(f"the arm {arm!r} failed with {why}")
        done = {arm: _summary(self.runs[arm], self.chosen.get(arm)) for arm in arms}
        declared = count_look(self.output, self.request)
        texts = {arm: self._texts(arm) for arm in arms}
        verdict = verdict_of(self.task.name, self.request.model, done, self.failed, declared, texts)
        verdict = replace(verdict, guessing=self.planner.objective.guessing())
        write_json(self.output / "verdict.json", verdict.to_dict())
        return verdict

    def _texts(self, arm: str) -> list[dict]:
        """Return what every test text came to, a dictionary for each of an arm's runs."""
        name, runs = file_name(arm, self.output), self.output / "runs"
        return [
            read_text_results(runs / f"{name}-seed{run.seed}", run.metrics)
            for run in self.runs[arm]
        ]

    def _give_up(self, arm: str, seed: int, error: AdaRankError) -> None:
        self.failed[arm] = f"seed {seed}: {error}"
        self.on_event({"event": "arm-failed", "arm": arm, "seed": seed, "message": str(error)})

    def _trial(self, arm: str, rate: float, seed: int) -> Trial | None:
        """Train an arm at one learning rate of the search, without its test; None when stopped."""
        from adarank_core.training.callbacks import NotFiniteError

        name = file_name(arm, self.output)
        folder = self.output / "runs" / f"{name}-search-{rate}-seed{seed}"
        settings = replace(self.request.settings, learning_rate=rate)
        about = {"arm": arm, "seed": seed, "search": rate}
        asked = self._asked_of(name, seed, settings, "validation")
        found = self._finished(folder, asked, about)
        if found is None:
            planned = self.planner.plan(arm, seed)
            if planned is None:
                return None
            started = time.perf_counter()
            try:
                result = self._train(planned, settings, folder, about, measure="validation")
            except NotFiniteError:
                seconds = round(time.perf_counter() - started, 3)
                found = {"validation_loss": None, "train_seconds": seconds}
            else:
                if result is None:
                    return None
                found = result.to_dict()
            found["allocation_seconds"] = planned.seconds
            _finish(folder, found, asked)
        return Trial(found["validation_loss"], found["train_seconds"], found["allocation_seconds"])

    def _result(self, arm: str, seed: int) -> RunResult | None:
        """Train an arm with a seed, or take over what it came to; None when stopped."""
        name, settings = file_name(arm, self.output), self.request.settings
        folder = self.output / "runs" / f"{name}-seed{seed}"
        if arm in self.chosen:
            settings = replace(settings, learning_rate=self.chosen[arm].learning_rate)
        about = {"arm": arm, "seed": seed}
        asked = self._asked_of(name, seed, settings, "test")
        found = self._finished(folder, asked, about)
        if found is not None:
            return RunResult.from_dict(found)
        planned = self.planner.plan(arm, seed)
        if planned is None:
            return None
        parameters, residual = self.planner.size_of(planned.plan)
        budget = {**(planned.plan.budget if planned.plan else {}), "lora_parameters": parameters}
        self.on_event({"event": "plan", **about, "budget": budget, "residual": residual})
        folder.mkdir(parents=True, exist_ok=True)
        if planned.plan is not None:
            write_json(folder / "ranks.json", planned.plan.to_dict())
        result = self._train(planned, settings, folder, about)
        if result is None:
            return None
        result = replace(result, allocation_seconds=planned.seconds)
        _finish(folder, result.to_dict(), asked)
        return result

    def _asked_of(self, arm: str, seed: int, settings: Settings, measure: str) -> dict:
        """Return what tells a training from all others, for what is kept of it."""
        rates = {
            "average_rank": float(self.request.average_rank),  # 8 and 8.0 are the same
            "settings": {**settings.to_dict(), "learning_rate": float(settings.learning_rate)},
        }
        return {**self.asked, **rates, "arm": arm, "seed": seed, "measure": measure}

    def _finished(self, folder: Path, asked: dict, about: dict) -> dict | None:
        """Return what a training came to, if it was done before; say that it was not this one."""
        from adarank_core.training import checkpoints

        try:
            found = kept(folder / "result.json", asked)
        except AdaRankError as error:
            message = f"{folder.name} is trained anew: {error}"
            self.on_event({"event": "notice", **about, "message": message})
            return None
        if found is not None:  # of a process killed right after its last word
            checkpoints.clear(folder / "checkpoints")
        return found

    def _train(
        self, planned: Planned, settings: Settings, folder: Path, about: dict, measure: str = "test"
    ) -> RunResult | None:
        from adarank_core.training import finetuning

        training = finetuning.Training(
            self.request.model,
            self.task,
            planned.plan,
            settings,
            planned.method,
            measure,
            about["seed"],
        )
        return finetuning.train(
            training,
            output=folder,
            on_event=lambda event: self.on_event({**event, **about}),
            should_stop=self.should_stop,
        )


def read_request(output: Path, arms: Sequence[str], seeds: Sequence[int]) -> ComparisonRequest:
    """Read what a comparison in a folder was asked for, but for its arms and seeds.

    Raises
    ------
    AdaRankError
        If no comparison has begun there, or what was kept of it is damaged.
    """
    found = _kept_request(output)
    return ComparisonRequest.from_dict({**found, "arms": list(arms), "seeds": list(seeds)})


def _kept_request(output: Path) -> dict:
    """Read what a comparison's folder keeps of what was asked for."""
    return validated(read_json(output / "comparison.json"), ClaimEntry, "comparison.json")


def _asked(request: ComparisonRequest, task: str, planner: Planner) -> dict:
    """Return what all trainings of a comparison have in common.

    Results of older versions are taken over: alpha is in it only where it does not go by rank,
    as it did in all of them, and a grid, which a training does not depend on, is None.
    """
    alpha = {} if request.alpha == "proportional" else {"alpha": request.alpha}
    return {
        **alpha,
        "model": request.model,
        "task": task,
        "task_sha256": planner.task_sha256,
        "model_sha256": planner.model_sha256,
        "average_rank": request.average_rank,
        "trials": request.trials,
        "settings": request.settings.to_dict(),
        "learning_rates": None,
    }


def _wanted(request: ComparisonRequest, asked: dict) -> dict:
    """Return what a folder's results have in common, and how they are judged and searched."""
    rates = request.learning_rates
    rates = rates if rates == AUTO else list(rates) or None
    return {
        **asked,
        "alpha": request.alpha,
        "learning_rates": rates,
        "metric": request.metric,
    }


def _claim(wanted: dict, seeds: Sequence[int], output: Path) -> list[int]:
    """Keep what is asked for in the folder; refuse one that was asked for something else.

    Returns the seeds that learning rates are searched with there. Rates may be added to a grid.
    """
    path = output / "comparison.json"
    if not path.exists():
        output.mkdir(parents=True, exist_ok=True)
        first = {"search_seeds": list(SEARCH_SEEDS), "planned_seeds": list(seeds)}
        write_json(path, {**wanted, **first})
        return list(SEARCH_SEEDS)
    had = _kept_request(output)
    if extends(wanted["learning_rates"], had.get("learning_rates")):
        had["learning_rates"] = wanted["learning_rates"]
        write_json(path, had)
    for key, value in wanted.items():
        before = had.get(key, UNSAID.get(key))
        if before != value:
            what = OTHERS.get(key, f"{key} is {value!r}")
            raise AdaRankError(
                f"{what}, but {str(output)!r} holds results with {quoted(before)}; give another "
                "folder, or the same values"
            )
    return had.get("search_seeds", list(SEARCH_SEEDS))


def _finish(folder: Path, result: dict, asked: dict) -> None:
    """Write what a training came to, in place of its checkpoints."""
    from adarank_core.training import checkpoints

    folder.mkdir(parents=True, exist_ok=True)
    keep(folder / "result.json", result, asked)
    checkpoints.clear(folder / "checkpoints")


def _summary(runs: list[RunResult], chosen: ChosenRate | None) -> dict:
    """Put an arm's runs together as a verdict has them."""
    own = ("lora_parameters", "ranks", "allocation_seconds")
    rows = [run.to_dict() for run in runs]
    seconds = [run.allocation_seconds for run in runs]
    return {
        "lora_parameters": runs[0].lora_parameters,
        "ranks": runs[0].ranks,
        "runs": [{key: row[key] for key in row if key not in own} for row in rows],
        "allocation_seconds": round(sum(seconds) / len(seconds), 3),
        **({} if chosen is None else asdict(chosen)),
    }
