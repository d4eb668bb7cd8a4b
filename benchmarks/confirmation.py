"""Confirm, once, what did best on validation, on tasks that did not choose it.

Run it from the repository's root, as `benchmarks/evidence.py`, whose flags it has::

    python benchmarks/unseen_tasks.py --output UNSEEN --e2e PATH
    python benchmarks/confirmation.py --output DIR --tasks PATH,UNSEEN/restaurant_prices

`CHOSEN` is the variant of `benchmarks/improvements.py` with the lowest mean, over its two tasks, of
the loss less that of AdaRank's own ranks. It was committed before it was trained on any task here.
With the folder of the evidence as ``--output``, the arms that are trained there are not trained
again. Results go to ``benchmarks/results/confirmation``.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core.data.task import Task
from benchmarks import evidence
from benchmarks.evidence import Study, settings_of
from benchmarks.improvements import RANK, plan_files

CHOSEN = "lora-noise"
SEEDS = 10


def study_of(task: Task, output: Path) -> Study:
    """Write the variant's plan for a task, unless it is there, and say what is trained."""
    paths = plan_files(task, output, [CHOSEN], "embedded")
    seeds = dict.fromkeys(("uniform", "adarank", *paths), SEEDS) | {"head-only": 5}
    pairs = ((CHOSEN, "uniform"), (CHOSEN, "adarank"), ("adarank", "uniform"))
    own = {"average_rank": RANK, "pairs": pairs, "script": "confirmation.py"}
    return Study(settings_of(task), seeds, {}, **own)


if __name__ == "__main__":
    results = evidence.RESULTS / "confirmation"
    sys.exit(evidence.main(None, study_of, results=results, about=__doc__))
