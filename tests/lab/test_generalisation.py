"""Does a module's score predict the loss that LoRA on it alone reaches?"""

import numpy as np
import pytest
from scipy import stats

from adarank_core import AdaRankError
from adarank_core.lab.bench import Bench
from adarank_core.lab.generalisation import STUDY, _alone
from adarank_core.lab.studies import study_iter
from adarank_core.lab.study import StudyRequest


def test_one_module_is_adapted_with_equal_parameters_and_steps(tiny_bert, tiny_file, tmp_path):
    planner = Bench(StudyRequest(STUDY, tiny_bert, tiny_file), tmp_path).planner(2)
    modules = {module.name: module for module in planner.plain.modules}
    sizes, steps = set(), set()
    for name, module in modules.items():
        plan = _alone(planner, name).plan
        [(only, rank)] = [(n, rank) for n, rank in plan.ranks.items() if rank]
        assert only == name
        sizes.add(rank * (module.in_features + module.out_features))
        steps.add(plan.scaling[name] * rank)
    assert max(sizes) - min(sizes) < 96 and len(steps) == 1


def test_correlations_are_scipys(tiny_bert, tiny_file, tmp_path):
    own = {"steps": 2, "batch_size": 4, "modules": 5, "scores": ["adarank", "weight-norm"]}
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings=own)
    result = list(study_iter(request, tmp_path))[-1].result
    modules = [row for row in result.rows if row["table"] == "modules"]
    assert len(modules) == 5
    for row in (row for row in result.rows if row["table"] == "correlations"):
        scores = [one[f"score of {row['score']}"] for one in modules]
        wanted = stats.spearmanr(scores, [one["loss"] for one in modules]).statistic
        assert row["spearman"] == pytest.approx(wanted)
        assert -1.001 < row["ci_low"] <= row["ci_high"] < 1.001
    assert "Over 5 modules" in result.details


def test_a_strong_relation_is_told_from_none():
    scores = dict(zip("abcdefghijkl", np.arange(12.0), strict=True))
    about = {"layer": 0, "family": "query", "lora_parameters": 8, "seed": 0}

    def answer(losses):
        done = [{"score": "adarank", "scores": scores}]
        done += [
            {"module": name, "loss": loss, **about}
            for name, loss in zip(scores, losses, strict=True)
        ]
        return STUDY.answer(STUDY.rows(done, {}))

    assert "predicts a low loss" in answer(np.linspace(1, 0.5, 12))
    assert "cannot be shown" in answer([1, 2, 1.5, 0.9, 3, 0.5, 1.2, 2.2, 0.7, 2.5, 0.8, 1.1])


@pytest.mark.parametrize(
    ("own", "said"), [({"scores": ["uniform"]}, "has no scores"), ({"modules": 3}, "at least 4")]
)
def test_what_says_nothing_is_refused(tiny_bert, tiny_file, tmp_path, own, said):
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings=own)
    with pytest.raises(AdaRankError, match=said):
        list(study_iter(request, tmp_path))
