"""Budget, bounds and rule: what each holds, and what it refuses by itself."""

import json
import math

import numpy as np
import pytest

from adarank_core import AdaRankError, ModuleScore, Scores, allocate
from adarank_core.ranks.options import Bounds, Budget, Rule

ONE, TWO, THREE = "layer.000", "layer.001", "layer.002"
SIZES = {ONE: (16, 16), TWO: (16, 16), THREE: (16, 16), "layer.003": (16, 48)}
MODULES = tuple(
    ModuleScore(name, at, "family", *size, at + 1.0, 0.0)
    for at, (name, size) in enumerate(SIZES.items())
)
FOUR = Scores("tiny", "paper", "paired", 1.0, 0, {}, MODULES)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            Budget,
            {"average_rank": 8, "parameters": 900},
            "average_rank and parameters are both given",
        ),
        (Budget, {"average_rank": 8, "share": 0.1}, "average_rank and share are both given"),
        (Budget, {"parameters": 900, "share": 0.1}, "parameters and share are both given"),
        (Budget, {"adaptive": True, "average_rank": 8}, "adaptive conflicts with average_rank"),
        (Budget, {"adaptive": True, "share": 0.1}, "adaptive conflicts with share"),
        (Budget, {"adaptive": True, "budget_by": "rank"}, "adaptive conflicts with budget_by"),
        (Budget, {"share": 0.1, "budget_by": "rank"}, "share conflicts with budget_by 'rank'"),
        (
            Budget,
            {"parameters": 900, "budget_by": "rank"},
            "parameters conflicts with budget_by 'rank'",
        ),
        (Budget, {"share": 0}, "share is 0"),
        (Budget, {"share": math.nan}, "share is nan"),
        (Budget, {"parameters": math.nan}, "parameters is nan"),
        (Budget, {"parameters": 10**400}, "not above"),
        (Budget, {"average_rank": True}, "average_rank is True"),
        (Budget, {"average_rank": "8"}, "average_rank is '8'"),
        (Bounds, {"max_rank": 2, "min_rank": 3}, "max_rank is 2, which conflicts with min_rank 3"),
        (Bounds, {"min_rank": 1.5}, "min_rank is 1.5"),
        (Bounds, {"max_rank": math.nan}, "max_rank is nan"),
        (Bounds, {"pinned": ["layer.000"]}, "pinned is ['layer.000']; it must give ranks"),
        (Bounds, {"excluded": "layer.000"}, "excluded is 'layer.000'; it must be a list"),
        (Bounds, {"excluded": [3]}, "excluded names 3"),
        (Rule, {"temperature": -1}, "temperature is -1"),
        (Rule, {"temperature": math.nan}, "temperature is nan"),
        (Rule, {"temperature": math.inf}, "temperature is inf"),
        (Rule, {"alpha_policy": "x"}, "alpha_policy is 'x'"),
        (Rule, {"temperature": None}, "temperature is None"),
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused_in_one_line(kind, options, message):
    with pytest.raises(AdaRankError) as caught:
        kind(**options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_asked_is_held_in_plain_values():
    budget = Budget(average_rank=np.float32(2.5), budget_by="parameters")
    assert type(budget.average_rank) is float and budget.by == "parameters"
    assert budget.total(FOUR.modules) == 2.5 * (3 * 32 + 64)
    assert type(Budget(parameters=np.int64(900)).parameters) is int
    assert Budget(adaptive=True).by == "adaptive" and Budget().by == "rank"
    pins = {TWO: 2, ONE: 1}
    bounds = Bounds(pinned=pins, excluded={THREE})
    pins[ONE] = 9
    assert list(bounds.pinned.items()) == [(ONE, 1), (TWO, 2)] and bounds.excluded == (THREE,)
    assert Bounds(pinned=None) == Bounds() and Rule(temperature=1) == Rule()
    plan = allocate(FOUR, share=np.float32(0.5))
    assert json.loads(json.dumps(plan.budget)) == plan.budget
