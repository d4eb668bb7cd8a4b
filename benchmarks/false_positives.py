"""How often do tests for paired differences find one where there is none?

The table in ``adarank_core/comparison/verdicts.py``: 2,000 comparisons of pure normal noise, at a
level of 5%, for each candidate and number of seeds. It runs none of the project's code: it is why
the project's verdict is the paired t-test's.

    python benchmarks/false_positives.py
"""

import argparse
import itertools

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

LEVEL = 0.05
RESAMPLED = 999


def t_test(differences: np.ndarray) -> np.ndarray:
    return stats.ttest_1samp(differences, 0, axis=1).pvalue < LEVEL


def sign_flip(differences: np.ndarray) -> np.ndarray:
    """Compare the sum with those under all flips of sign."""
    flips = np.array(list(itertools.product((1, -1), repeat=differences.shape[1])))
    own = np.abs(differences.sum(axis=1, keepdims=True))
    return (np.abs(differences @ flips.T) >= own - 1e-12).mean(axis=1) < LEVEL


def wilcoxon(differences: np.ndarray) -> np.ndarray:
    return stats.wilcoxon(differences, axis=1, method="exact").pvalue < LEVEL


def percentile_bootstrap(differences: np.ndarray) -> np.ndarray:
    return _misses_zero(differences, "percentile")


def bca_bootstrap(differences: np.ndarray) -> np.ndarray:
    return _misses_zero(differences, "BCa")


def _misses_zero(differences: np.ndarray, method: str) -> np.ndarray:
    intervals = [
        stats.bootstrap(
            (row,), np.mean, n_resamples=RESAMPLED, method=method, rng=np.random.default_rng(at)
        ).confidence_interval
        for at, row in enumerate(differences)
    ]
    return np.array([not interval.low <= 0 <= interval.high for interval in intervals])


CANDIDATES = {
    "t-test": t_test,
    "sign-flip": sign_flip,
    "Wilcoxon": wilcoxon,
    "percentile bootstrap": percentile_bootstrap,
    "BCa bootstrap": bca_bootstrap,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--comparisons", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 5, 8, 10])
    given = parser.parse_args()
    table = Table("seeds", *CANDIDATES, title="false positives at 5%")
    for seeds in given.seeds:
        noise = np.random.default_rng(seeds).normal(size=(given.comparisons, seeds))
        shares = [np.mean(finds(noise)) for finds in CANDIDATES.values()]
        table.add_row(str(seeds), *(f"{share:.1%}" for share in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
