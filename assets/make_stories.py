"""Take what the lesson tells of from the evidence.

Run it from the repository's root after ``benchmarks/evidence.py``, as
``python assets/make_stories.py``: it reads ``benchmarks/results`` and writes
``assets/lesson/evidence.json``.
"""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
EVIDENCE = ROOT / "assets" / "lesson" / "evidence.json"
NAMES = {"docstrings": "docstrings", "trec6": "TREC"}  # of a result's file, for people
#: By the id that the lesson uses: whose result, at which rate, and what is held against what.
TOLD = {
    "low-adarank": ("docstrings", "low_rate", "adarank", "uniform"),
    "low-scale-only": ("docstrings", "low_rate", "scale-only", "uniform"),
    "docstrings-uniform": ("docstrings", "best_rate", "adarank", "uniform"),
    "docstrings-permuted": ("docstrings", "best_rate", "permuted", "uniform"),
    "docstrings-shuffled": ("docstrings", "best_rate", "adarank", "permuted"),
    "trec-uniform": ("trec6", "best_rate", "adarank", "uniform"),
    "trec-shuffled": ("trec6", "best_rate", "adarank", "permuted"),
}
NUMBERS = ("difference", "ci_low", "ci_high", "p_value", "p_adjusted", "smallest_detectable")


def rows() -> list[dict]:
    """Return the differences in test loss that the lesson tells of."""
    found = []
    for name, (task, rate, arm, against) in TOLD.items():
        result = json.loads((RESULTS / f"{task}.json").read_text(encoding="utf-8"))
        one = next(
            one
            for one in result[rate]["comparisons"]
            if (one["arm"], one["against"], one["metric"]) == (arm, against, "test_loss")
        )
        row = {"id": name, "task": NAMES[task], "arm": arm, "against": against}
        row |= {key: one[key] for key in ("seeds", *NUMBERS, "verdict")}
        found.append(row | {"source": f"benchmarks/results/{task}.json; README, The evidence"})
    return found


if __name__ == "__main__":
    data = {"format": "adarank-evidence/1", "metric": "test_loss", "rows": rows()}
    EVIDENCE.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
