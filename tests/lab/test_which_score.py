"""How far do the importance scores agree?"""

from types import SimpleNamespace

import pytest

from adarank_core import AdaRankError, load_model, load_task
from adarank_core.comparison.arms import ARMS
from adarank_core.lab import which_score
from adarank_core.lab.agreement import agreement
from adarank_core.scoring.baselines import snip, weight_norm
from adarank_core.training.objectives import objective_for


@pytest.fixture(scope="module")
def result(finished):
    return finished("which-score", repeats=2)


def test_every_score_of_an_arm_is_held_against_every_other(result):
    names = {row["first"] for row in result.rows}
    assert {"adarank", "adarank-generic", "gradient", "snip", "fisher", "eva-ranks"} < names
    assert {"weight-norm", "stable-rank", "ramp-up"} < names and "uniform" not in names
    assert not any(ARMS[name].source or ARMS[name].trains for name in names)
    assert len(result.rows) == len(names) ** 2
    assert "Disagreement agrees with itself" in result.details


def test_an_agreement_is_that_of_the_librarys_scores(result, tiny_bert, tiny_file):
    objective, bundle = objective_for(load_task(tiny_file)), load_model(tiny_bert)
    scored = [
        [snip(bundle, *objective.sample(16, seed), seed), weight_norm(bundle)] for seed in (0, 1)
    ]
    tables = [[[m.score for m in pair[at].modules] for pair in scored] for at in (0, 1)]
    rows = {(row["first"], row["second"]): row for row in result.rows}
    assert rows["snip", "weight-norm"]["spearman"] == pytest.approx(agreement(*tables)[0])
    assert rows["weight-norm", "weight-norm"]["spearman"] == pytest.approx(1)


def test_a_task_without_labels_is_refused(tiny_bert):
    bench = SimpleNamespace(
        bundle=SimpleNamespace(task_type="CAUSAL_LM"), task=SimpleNamespace(name="stories")
    )
    with pytest.raises(AdaRankError, match="the task 'stories' has no labels"):
        which_score.STUDY.units(bench)
