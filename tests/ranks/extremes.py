"""Values at the ends of what numbers can be, and beyond: for the tests of every file of ranks/."""

import math
import time

from hypothesis import strategies as st

from adarank_core import AdaRankError, ModuleScore, Scores

TEXTS = {"source": "list", "count": 1, "sha256": "00"}

#: What somebody may give, or a file may hold, where a number belongs.
values = st.one_of(
    st.integers(-(10**40), 10**40),
    st.integers(-2, 40),
    st.floats(),
    st.floats(0, 2),
    st.sampled_from([10**17 - 1, 10**18, 2**53 + 1, 10**6, 10**6 + 1, 10**12, 10**400, -(10**400)]),
    st.sampled_from([5e-324, 1e-320, 1e308, math.nan, math.inf, -math.inf, -0.0, 0.5, 1e17]),
    st.sampled_from([True, False, None, "8", "", "nan", "x", [], {}, [8], {"a": 8}]),
)

_sizes = st.sampled_from([1, 2, 7, 64, 4096, 99_991, 10**6, 10**9 + 7, 10**12 - 11, 10**12])
_scores = st.one_of(
    st.sampled_from([0, 0.0, 5e-324, 1e-320, 1e-308, 1e-9, 1, 3.0, 7.5, 10**30, 1e300, 1e308]),
    st.floats(0, allow_infinity=False),
)
_modules = st.lists(st.tuples(_scores, _scores, _sizes, _sizes), min_size=1, max_size=7)


def scores_of(modules):
    """Make scores of (score, standard error, in_features, out_features)."""
    listed = tuple(
        ModuleScore(f"layer.{at}", at, f"family {at % 3}", inputs, outputs, score, error)
        for at, (score, error, inputs, outputs) in enumerate(modules)
    )
    return Scores("tiny", "paper", "paired", 1.0, 0, TEXTS, listed)


#: Scores that are allowed, of modules from 1 to 10**12 features.
scores = _modules.map(scores_of)

#: Scores where anything may stand for a number.
broken_scores = st.lists(st.tuples(values, values, values, values), max_size=3).map(scores_of)


def result_or_refusal(function, *arguments, **options):
    """Return what a function returns, or None where it refuses; nothing else, and in a second."""
    started = time.process_time()
    try:
        return function(*arguments, **options)
    except AdaRankError as error:
        assert "\n" not in str(error)
        return None
    finally:
        assert time.process_time() - started < 1
