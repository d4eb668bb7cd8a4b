"""Does what is told at own learning rates stay where all arms have one rate, uniform's best?

Run it from the repository's root, as `benchmarks/evidence.py`, whose flags it has, into a folder of
its own::

    python benchmarks/one_rate.py --output DIR --tasks PATH

It was asked after the evidence had been read: on AG News the search chose one rate for uniform
ranks and AdaRank's and half of it for their controls, and arms of unlike rates were told apart. Of
the other tasks' arms of ten seeds all have one rate already, but for one of SST-2's. The rate and
the margin are those of the evidence. Results go to ``benchmarks/results/one_rate``.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from adarank_core.data.task import Task
from adarank_core.files import read_json
from benchmarks import evidence
from benchmarks.evidence import PAIRS, Study, settings_of

ARMS = ("uniform", "adarank", "scale-only", "permuted", "ramp-up")
SEEDS = 10


def study_of(task: Task, output: Path) -> Study:
    """Say what is trained at uniform's best rate of the evidence."""
    found = read_json(evidence.RESULTS / f"{task.name}.json")["best_rate"]
    settings = replace(settings_of(task), learning_rate=found["arms"]["uniform"]["learning_rate"])
    pairs = tuple(pair for pair in PAIRS if {*pair} <= {*ARMS})
    own = {"learning_rates": (), "pairs": pairs, "script": "one_rate.py"}
    own["smallest_of_interest"] = found["smallest_of_interest"]
    return Study(settings, dict.fromkeys(ARMS, SEEDS), {}, **own)


if __name__ == "__main__":
    results = evidence.RESULTS / "one_rate"
    sys.exit(evidence.main(None, study_of, results=results, about=__doc__))
