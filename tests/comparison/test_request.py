"""What a comparison is asked for: the same after JSON, after flags and after both."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core import AdaRankError
from adarank_core.commands import train as commands
from adarank_core.comparison import request as request_file
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.training.settings import Settings

ROOT = Path(request_file.__file__).resolve().parents[2]
FINITE = {"allow_nan": False, "allow_infinity": False}


def asked_by(flags, monkeypatch):
    """Return the request that the command line makes of flags."""
    from typer.testing import CliRunner

    from adarank_core.__main__ import app

    seen = []
    monkeypatch.setattr(commands, "_run_comparison", lambda request, *_: seen.append(request))
    found = CliRunner().invoke(app, ["compare", *flags], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return seen[0]


@given(
    st.floats(1e-300, 1e6, **FINITE),
    st.lists(st.floats(1e-30, 1e30, **FINITE), max_size=4),
    st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4),
    st.none() | st.integers(2, 99),
)
def test_a_request_survives_json_and_flags(rank, rates, seeds, trials):
    settings = Settings(7, 3, 1 / 3, 99)
    names = ("uniform", "permuted")
    request = ComparisonRequest("m", "t", names, rank, seeds, trials, settings, rates, 2)
    assert ComparisonRequest.from_dict(request.to_dict()) == request
    flags = dict(flag.removeprefix("--").split("=") for flag in request.flags())
    assert float(flags["average-rank"]) == rank
    assert tuple(map(float, flags.get("learning-rates", "").split(",") * bool(rates))) == (
        request.learning_rates
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"average_rank": 7 / 3, "learning_rates": (1 / 3, 1e-7), "seeds": (3, 1)},
        {"alpha": "rslora", "learning_rates": "auto"},
        {"metric": "test_accuracy", "smallest_of_interest": 0.1 + 0.2},
        {"trials": 5, "side_by_side": 3, "settings": Settings(9, 8, 0.1 + 0.2, 7)},
    ],
    ids=str,
)
def test_the_command_line_makes_of_flags_what_they_were_made_of(monkeypatch, changes):
    request = ComparisonRequest("embedded", "docstrings", ("uniform", "eva"), **changes)
    assert asked_by(request.flags(), monkeypatch) == request


def test_what_older_versions_kept_is_understood():
    old = {"model": "m", "task": "t", "arms": ["uniform"], "seeds": [0, 1], "average_rank": 2.5}
    old |= {"trials": None, "learning_rates": None, "versions": {}, "search_seed": 1}
    found = ComparisonRequest.from_dict({**old, "settings": {"steps": 9, "gone": 1}})
    assert found == ComparisonRequest("m", "t", ("uniform",), 2.5, (0, 1), settings=Settings(9))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ("best",)}, "the arm 'best' is unknown"),
        ({"seeds": (1, 1)}, "the seed 1 is given twice"),
        ({"average_rank": 0}, "average_rank|average rank"),
        ({"trials": 1}, "trials is 1"),
        ({"learning_rates": (0.0,)}, "holds 0.0"),
        ({"learning_rates": (0.1,), "seeds": (0, 1_000_000_002)}, "the seed 1000000002 is one"),
        ({"alpha": "twice"}, "alpha_policy is 'twice'"),
        ({"alpha": "constant", "arms": ("uniform", "scale-only")}, "'scale-only' is 'uniform'"),
        ({"side_by_side": 0}, "side_by_side is 0; it must be at least 1"),
        ({"side_by_side": -1}, "side_by_side is -1"),
        ({"metric": "zork"}, "the metric is 'zork'; it must be one of test_loss, test_accuracy"),
        ({"smallest_of_interest": 0}, "smallest_of_interest is 0; it must be above 0 and below 1e"),
        ({"smallest_of_interest": float("nan")}, "smallest_of_interest is nan"),
        ({"smallest_of_interest": -0.1}, "smallest_of_interest is -0.1"),
        ({"smallest_of_interest": 1, "metric": "auc"}, "below 1, in the unit of auc: a share"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused(changes, message):
    with pytest.raises(AdaRankError, match=message):
        ComparisonRequest(**{"model": "m", "task": "t", "arms": ("uniform",), **changes}).check()


def test_the_inputs_are_the_task_and_the_files_that_are_arms():
    assert ComparisonRequest("m", "t.csv", ("uniform", "a/b.json")).inputs == ("t.csv", "a/b.json")


def test_arms_settings_and_requests_need_no_torch():
    code = "import sys; from adarank_core.comparison import arms, compare, request; "
    code += "from adarank_core.training import results, settings; "
    code += "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
