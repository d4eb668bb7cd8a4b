"""How often do verdicts find a difference where there is none, and intervals miss the truth?

The tables in ``adarank_core/comparison/verdicts.py``, of 2,000 comparisons each, and 20,000 for
the second: what every candidate for the test finds at 5% in pure normal noise, which runs none of
the project's code and is why the verdict is the paired t-test's; what somebody finds who looks five
times and adds seeds; and how often the intervals hold the truth where other texts count too. The
last, of 20,000, is what the study in ``adarank_core/lab/learning_rate.py`` finds, which chooses
every arm's rate on the seeds that it compares.

    python benchmarks/false_positives.py
"""

import argparse
import itertools

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats

from adarank_core.comparison.statistics import level_of_look, texts_interval

LEVEL = 0.05
RESAMPLED = 999
#: Seeds at each of five looks.
LOOKS = ((3, 5, 8, 12, 16), (5, 8, 10, 12, 16), (5, 6, 7, 8, 9), (3, 4, 5, 6, 7))
#: How many of four rates are equally good, and the best, for one arm and for the other.
GOOD_RATES, STUDY_SEEDS = ((4, 4), (1, 1), (1, 4)), 5
#: Deviations of the seeds' own differences, the texts', and those of a text with a seed, in nats.
EFFECTS = ((0.02, 0.3, 0.7), (0.1, 0.3, 0.7), (0.0, 0.0, 0.7), (0.05, 0.5, 1.0), (0.02, 0.5, 0.1))


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


def looks_table(comparisons: int) -> Table:
    """Look five times, each with more seeds, until something is found."""
    table = Table("seeds", "each at 5%", "as they are here", title="found in one of five looks")
    for at, counts in enumerate(LOOKS):
        noise = np.random.default_rng(at).normal(size=(comparisons, counts[-1]))
        tests = [stats.ttest_1samp(noise[:, :seeds], 0, axis=1).pvalue for seeds in counts]
        naive = np.any([p < LEVEL for p in tests], axis=0)
        ours = np.any([p < level_of_look(look) for look, p in enumerate(tests, 1)], axis=0)
        table.add_row(", ".join(map(str, counts)), f"{naive.mean():.1%}", f"{ours.mean():.1%}")
    return table


def standard_lognormal(draw: np.random.Generator, count: int) -> np.ndarray:
    """Draw from a lognormal law of mean 0 and deviation 1, far out to one side (sigma 1.5)."""
    square = 1.5**2
    mean, spread = np.exp(square / 2), np.sqrt(np.expm1(square) * np.exp(square))
    return (draw.lognormal(sigma=1.5, size=count) - mean) / spread


def texts_table(comparisons: int) -> Table:
    """Cross random effects of seeds and texts, and see which interval holds the truth, 0."""
    table = Table("seeds", "texts", "effects", "over seeds", "over seeds and texts", "lognormal")
    table.title = "95% intervals that hold the truth; over both, too, where texts are lognormal"
    for effects, seeds, texts in itertools.product(EFFECTS, (3, 5, 10), (100, 500)):
        draw, other, held = *map(np.random.default_rng, (seeds, [seeds, 1])), np.zeros(3)
        for _ in range(comparisons):
            shapes = (seeds, 1), (1, texts), (seeds, texts)
            of_seeds, of_texts, of_both = (
                size * draw.normal(size=shape) for size, shape in zip(effects, shapes, strict=True)
            )
            mean = (of_seeds + of_texts + of_both).mean(axis=1)
            reach = stats.sem(mean) * stats.t.ppf(1 - LEVEL / 2, seeds - 1)
            held[0] += abs(mean.mean()) <= reach
            skewed = effects[1] * standard_lognormal(other, texts)
            for at, own in enumerate((of_texts, skewed), 1):
                low, high = texts_interval(of_seeds + own + of_both)
                held[at] += low <= 0 <= high
        shares = (f"{share:.1%}" for share in held / comparisons)
        table.add_row(str(seeds), str(texts), ", ".join(map(str, effects)), *shares)
    return table


def rates_table(comparisons: int) -> Table:
    """Choose each arm's rate by the seeds that are compared, or for each seed by the others."""
    table = Table("good rates", "chosen on all seeds", "on the others", title="where none differs")
    for counts in GOOD_RATES:
        draw, shares = np.random.default_rng(counts), []
        arms = [draw.normal(size=(comparisons, rates, STUDY_SEEDS)) for rates in counts]
        for own in (0, 1):  # of a seed, what is left out of its choice
            rates = [(losses.sum(2, keepdims=True) - own * losses).argmin(1) for losses in arms]
            first, second = (
                np.take_along_axis(losses, rate[:, None], 1)[:, 0]
                for losses, rate in zip(arms, rates, strict=True)
            )
            shares.append(f"{t_test(second - first).mean():.1%}")
        table.add_row(", ".join(map(str, counts)), *shares)
    return table


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
    console = Console()
    console.print(table, looks_table(10 * given.comparisons), texts_table(given.comparisons))
    console.print(rates_table(10 * given.comparisons))


if __name__ == "__main__":
    main()
