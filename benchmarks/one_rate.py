"""At one learning rate, uniform's best: what stays of what is told, and does twice the rank help?

Run it from the repository's root, as `benchmarks/evidence.py`, whose flags it has, into a folder of
its own::

    python benchmarks/one_rate.py --output DIR --tasks PATH

Both were asked after the evidence had been read. On AG News the search chose unlike rates for the
arms of ten seeds, and such arms were told apart, so all are trained at one there (on SST-2 it did,
too, and told nothing apart; that was not trained). And everywhere ``uniform-double``, of twice the
parameters, is held against uniform. Its rate is not searched and its steps are larger, so that this
alone does not tell rank from step size. The rate and the margin are those of the evidence. Results
go to ``benchmarks/results/one_rate``.
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
DOUBLE = "uniform-double"
SEEDS = 10


def study_of(task: Task, output: Path) -> Study:
    """Say what is trained at uniform's best rate of the evidence."""
    found = read_json(evidence.RESULTS / f"{task.name}.json")["best_rate"]
    rates = {arm: found["arms"][arm]["learning_rate"] for arm in ARMS}
    unlike = len({*rates.values()}) > 1
    arms = ("uniform", DOUBLE, *(ARMS[1:] if unlike else ()))
    pairs = ((DOUBLE, "uniform"), *(pair for pair in PAIRS if {*pair} <= {*arms}))
    settings = replace(settings_of(task), learning_rate=rates["uniform"])
    own = {"learning_rates": (), "pairs": pairs, "script": "one_rate.py"}
    own["smallest_of_interest"] = found["smallest_of_interest"]
    return Study(settings, dict.fromkeys(arms, SEEDS), {}, **own)


if __name__ == "__main__":
    results = evidence.RESULTS / "one_rate"
    sys.exit(evidence.main(None, study_of, results=results, about=__doc__))
