"""``allocate``: the plan that Python gives, and budgets that cannot be."""

import json

import pytest

from adarank_core import RankPlan, Scores, allocate
from adarank_core.files import read_json

pytestmark = pytest.mark.usefixtures("home")


def test_allocate_gives_what_python_gives(run, files):
    scores = Scores.from_dict(read_json(files / "scores.json"))
    one, two = (module.name for module in scores.modules[:2])
    for options, expected in {
        (): allocate(scores),
        ("--average-rank", "2.5"): allocate(scores, 2.5),
        ("--parameters", "9000"): allocate(scores, parameters=9000),
        ("--average-rank", "3", "--budget-by", "parameters"): allocate(
            scores, 3, budget_by="parameters"
        ),
        ("--group-by", "family", "--min-rank", "0"): allocate(
            scores, group_by="family", min_rank=0
        ),
        ("--rounding", "floor", "--max-rank", "9"): allocate(scores, rounding="floor", max_rank=9),
        ("--share", "0.3"): allocate(scores, share=0.3),
        ("--adaptive", "--alpha-policy", "rslora"): allocate(
            scores, adaptive=True, alpha_policy="rslora"
        ),
        ("--pin", f"{one}=5", "--pin", f"{two}=0", "--temperature", "0.5"): allocate(
            scores, pinned={one: 5, two: 0}, temperature=0.5
        ),
        ("--exclude", "query", "--exclude", "layer.0.*key"): allocate(
            scores,
            excluded=[
                m.name
                for m in scores.modules
                if m.family == "query" or "0.attention.self.key" in m.name
            ],
        ),
    }.items():
        out = run("allocate", "--scores", files / "scores.json", *options, "--json", "-")
        assert RankPlan.from_dict(json.loads(out)) == expected


def test_the_table_has_the_words_of_pages_and_names_to_copy(run, files):
    """A name out of the table is one that --pin takes."""
    scores = Scores.from_dict(read_json(files / "scores.json"))
    out = run("allocate", "--scores", files / "scores.json")
    assert "residual 0" in out and "uniform rank" not in out
    equal = ("--average-rank", 4, "--budget-by", "parameters")
    assert "(the budget of uniform rank 4)" in run(
        "allocate", "--scores", files / "scores.json", *equal
    )
    module = next(one for one in scores.modules if one.family == "intermediate" and one.layer == 1)
    (line,) = [line for line in out.splitlines() if module.name in line]
    rank, name = line.split()[-2:]
    assert line.split() == ["2", "feed-forward", "in", rank, name]
    assert int(rank) == allocate(scores).ranks[module.name]
    pinned = run("allocate", "--scores", files / "scores.json", "--pin", f"{name}=5", "--json", "-")
    assert RankPlan.from_dict(json.loads(pinned)).ranks[module.name] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--average-rank", "0"], "average_rank is 0"),
        (["--average-rank", "-3"], "average_rank is -3"),
        (["--average-rank", "nan"], "average_rank is nan"),
        (["--average-rank", "inf"], "average_rank is inf"),
        (["--average-rank", "1e308"], "average_rank is 1e+308"),
        (["--average-rank", "33"], "above"),
        (["--average-rank", "x"], "average-rank"),
        (["--parameters", "-5"], "parameters is -5"),
        (["--parameters", "0"], "parameters is 0"),
        (["--parameters", "9" * 40], "above"),
        (["--parameters", "1.5"], "parameters"),
        (["--average-rank", "4", "--parameters", "9000"], "both given"),
        (["--adaptive", "--average-rank", "4"], "adaptive conflicts with average_rank"),
        (["--share", "0.1", "--average-rank", "4"], "both given"),
        (["--share", "nan"], "share is nan"),
        (["--temperature", "-1"], "temperature is -1"),
        (["--alpha-policy", "x"], "alpha_policy is 'x'"),
        (["--pin", "x"], "must be NAME=RANK"),
        (["--pin", "x=2.5"], "must be NAME=RANK"),
        (["--pin", "x=" + "9" * 5000], "must be NAME=RANK"),
        (["--pin", "x=2"], "pinned names 'x'"),
        (["--pin", "x=2", "--pin", "x=3"], "names 'x' twice"),
        (["--exclude", "zork"], "fits none of the"),
        (["--exclude", "("], "not a regular expression"),
        (["--exclude", "(.|.)*[0-9]!"], "fits none of the"),  # which `re` never finds out
        (["--exclude", ""], "all 12 modules are excluded"),
        (["--budget-by", "x"], "budget_by is 'x'"),
        (["--group-by", "x"], "group_by is 'x'"),
        (["--rounding", "x"], "rounding is 'x'"),
        (["--min-rank", "-1"], "min_rank is -1"),
        (["--max-rank", "0"], "max_rank is 0"),
        (["--zork"], "--zork"),
    ],
    ids=str,
)
def test_a_budget_that_cannot_be(refusal, files, options, message):
    assert message in refusal("allocate", "--scores", files / "scores.json", *options)
