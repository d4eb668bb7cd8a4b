"""Try to improve on AdaRank's ranks, without a look at any test text.

Run it from the repository's root, as `benchmarks/evidence.py`, whose flags it has::

    python benchmarks/improvements.py --output DIR --tasks docstrings,PATH --budget-minutes 60

Of a task's training rows some are trained on, and others are what variants are measured on; the
test rows are left alone. Each variant is a plan for all seeds, from the same 16 texts and one draw
of the noise, and is trained at its own learning rate as the arms of the evidence are. Results go to
``benchmarks/results/improvements``. What is best here is confirmed by `benchmarks/confirmation.py`.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core import allocate, score
from adarank_core.comparison.arms import SAMPLED
from adarank_core.comparison.planner import plain_scores
from adarank_core.data.task import Task
from adarank_core.files import write_json
from adarank_core.ranks.allocation import uniform_plan
from adarank_core.ranks.plans import RankPlan
from adarank_core.scoring import estimators
from adarank_core.scoring.baselines import depth_ramp
from adarank_core.scoring.models import ModelBundle
from adarank_core.scoring.noise import ModuleNoise, deviation
from adarank_core.scoring.scores import Scores
from adarank_core.training.objectives import objective_for
from benchmarks import evidence
from benchmarks.evidence import ROWS, Study, settings_of

SEED = 1_000_000_003  # of the scores: of no training
SEEDS = 5
RANK = 2  # on average, and of the noise that has LoRA's shape
TRIALS = 4  # pairs of noisy models, where the plain estimator scores

PLAIN = "adarank-plain"
#: Every variant in a few words.
VARIANTS = {
    PLAIN: "AdaRank's own ranks, as one plan for all seeds",
    "temperature-2": "ranks less alike: from the squared scores",
    "temperature-0.5": "ranks more alike: from the root of the scores",
    "per-parameter": "scores divided by what a unit of rank costs",
    "ramp-blend": "the geometric mean of the scores and a ramp over depth",
    "low-rank-noise": "noise of LoRA's rank instead of full rank",
    "lora-sized-noise": "noise of the size that LoRA moves: by the width of a module's input",
    "lora-noise": "noise of LoRA's rank and size",
    "alpha": "uniform ranks, with alpha from the scores",
    "alpha-root": "uniform ranks, with alpha from the root of the scores",
}
NAMES = tuple(VARIANTS)


@dataclass(frozen=True)
class LowRankNoise(ModuleNoise):
    """Noise that LoRA could learn: a product of two thin Gaussian matrices, of the same deviation.

    Examples
    --------
    >>> import torch
    >>> noise = LowRankNoise(1.0).standard((64, 32), torch.Generator(), torch.float32)
    >>> int(torch.linalg.matrix_rank(noise)) == RANK
    True
    """

    def standard(self, shape, generator, dtype):
        """Draw entries of mean 0 and deviation 1; see `ModuleNoise.standard`."""
        rows, columns = shape
        left = super().standard((rows, RANK), generator, dtype)
        right = super().standard((RANK, columns), generator, dtype)
        return left @ right / math.sqrt(RANK)


def variants(bundle: ModelBundle, task: Task) -> dict[str, Callable[[], RankPlan]]:
    """Return what makes every variant's plan, at the LoRA parameters of uniform ranks."""
    texts = objective_for(task).sample(SAMPLED, SEED)[0]
    plain = plain_scores(bundle)
    uniform = uniform_plan(plain, RANK)
    parameters = uniform.budget["lora_parameters"]
    give = partial(allocate, parameters=parameters)
    longest = settings_of(task).max_length
    scores = score(bundle, texts, seed=SEED, max_length=longest)
    values = {module.name: module.score for module in scores.modules}
    ramp = {module.name: module.score for module in depth_ramp(plain).modules}

    def changed(of_module: Callable) -> RankPlan:
        modules = (replace(module, score=of_module(module)) for module in scores.modules)
        return give(replace(scores, modules=tuple(modules)))

    # B starts at 0 and Adam moves all of its entries alike; A's entries are of the order of one
    # over the root of what comes in. So an entry of B A moves the less the wider the input is.
    weights = [bundle.model.get_submodule(module.name).weight for module in scores.modules]
    usual = np.mean([deviation(weight) for weight in weights])
    unit = float(usual / np.mean([weight.shape[1] ** -0.5 for weight in weights]))
    noisy = partial(_scores_with, bundle, texts, longest)
    return {
        PLAIN: lambda: give(scores),
        "temperature-2": lambda: give(scores, temperature=2),
        "temperature-0.5": lambda: give(scores, temperature=0.5),
        "per-parameter": lambda: changed(lambda m: m.score / (m.in_features + m.out_features)),
        "ramp-blend": lambda: changed(lambda m: math.sqrt(values[m.name] * ramp[m.name])),
        "low-rank-noise": lambda: give(noisy(LowRankNoise)),
        "lora-sized-noise": lambda: give(noisy(ModuleNoise, unit)),
        "lora-noise": lambda: give(noisy(LowRankNoise, unit)),
        "alpha": lambda: _with_alpha(uniform, values),
        "alpha-root": lambda: _with_alpha(uniform, {m: math.sqrt(v) for m, v in values.items()}),
    }


def _with_alpha(uniform: RankPlan, values: dict[str, float]) -> RankPlan:
    """Give uniform ranks an alpha in proportion to values, with the usual one on average."""
    mean = np.mean(list(values.values()))
    alpha = {name: float(usual * values[name] / mean) for name, usual in uniform.alpha.items()}
    return replace(uniform, alpha=alpha)


def _scores_with(
    bundle: ModelBundle,
    texts,
    longest: int,
    kind: type[ModuleNoise],
    unit: float | None = None,
) -> Scores:
    """Score with noise of another kind; with a unit its size goes by the width of the input."""

    def law(layer, options, dtype):
        size = deviation(layer.weight) if unit is None else unit * layer.weight.shape[1] ** -0.5
        return kind(size)

    # Noise in activation space is drawn for independent entries only.
    plain = {} if kind is ModuleNoise else {"estimator": "paired", "trials": TRIALS}
    with mock.patch.object(estimators, "module_noise", law):
        return score(bundle, texts, seed=SEED, max_length=longest, **plain)


def held_out(task: Task) -> Task:
    """Return a task whose training rows are split in two, the second in place of the test rows."""
    order = np.random.default_rng(0).permutation(len(task.train))
    trained = order[: ROWS["train"]]
    measured = order[ROWS["train"] : ROWS["train"] + ROWS["test"]]
    parts = (task.train.iloc[np.sort(rows)].reset_index(drop=True) for rows in (trained, measured))
    train, test = parts
    return replace(evidence.drawn(task), train=train, test=test)


def plan_files(task: Task, output: Path, names: Sequence[str], model: str) -> list[str]:
    """Write variants' plans into a task's folder, unless they are there, and return their paths."""
    folder = output / task.name / "plans"
    paths = [folder / f"{name}.json" for name in names]
    if not all(path.exists() for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
        plans = variants(objective_for(task).load(model), task)
        for name, path in zip(names, paths, strict=True):
            write_json(path, plans[name]().to_dict())
    return [str(path) for path in paths]


def study_of(task: Task, output: Path) -> Study:
    """Write the variants' plans, unless they are there, and say what is trained."""
    study = Study(settings_of(task), average_rank=RANK, low={}, script="improvements.py")
    arms = ["uniform", *plan_files(task, output, NAMES, study.model)]
    pairs = [(name, "uniform") for name in NAMES]
    pairs += [(name, PLAIN) for name in NAMES if name != PLAIN]
    return replace(study, seeds=dict.fromkeys(arms, SEEDS), pairs=pairs)


if __name__ == "__main__":
    sys.exit(evidence.main(None, study_of, held_out, evidence.RESULTS / "improvements", __doc__))
