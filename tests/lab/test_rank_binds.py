"""Does rank bind at all?"""

import pytest

from adarank_core import AdaRankError
from adarank_core.lab.bench import Bench
from adarank_core.lab.rank_binds import STUDY
from adarank_core.lab.studies import study_iter
from adarank_core.lab.study import StudyRequest


def test_losses_stand_over_parameters(tiny_bert, tiny_file, tmp_path):
    own = {"steps": 2, "batch_size": 4, "seeds": 2, "ranks": [1, 4]}
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings=own)
    result = list(study_iter(request, tmp_path))[-1].result
    losses = [row for row in result.rows if row["table"] == "losses"]
    sizes = {(row["arm"], row["average_rank"]): row["lora_parameters"] for row in losses}
    assert sizes["head-only", 0] == 0
    assert sizes["uniform", 4] == 4 * sizes["uniform", 1]
    assert abs(sizes["adarank", 4] - sizes["uniform", 4]) < 96
    assert "rank 4 less rank 1's" in result.answer


def test_no_rank_takes_larger_steps(tiny_bert, tiny_file, tmp_path, monkeypatch):
    taken = {}

    def train(_bench, planned, seed):
        if planned.plan is not None:
            scaling = planned.plan.scaling
            steps = {scaling[name] * rank for name, rank in planned.plan.ranks.items() if rank}
            taken.setdefault(seed, set()).update(round(step, 9) for step in steps)
        return {"loss": 1.0, "lora_parameters": 1}

    monkeypatch.setattr(Bench, "train", train)
    own = {"seeds": 1, "ranks": [1, 4], "alpha": 3.0}
    list(study_iter(StudyRequest(STUDY, tiny_bert, tiny_file, settings=own), tmp_path))
    assert taken == {0: {3.0}}


def test_what_binds_is_said():
    def trained(arm, rank, *losses):
        return [
            {"arm": arm, "average_rank": rank, "seed": seed, "loss": loss, "lora_parameters": rank}
            for seed, loss in enumerate(losses)
        ]

    done = [
        *trained("head-only", 1, 1.2, 1.3, 1.25),
        *trained("uniform", 1, 0.9, 0.95, 0.91),
        *trained("adarank", 1, 0.8, 0.9, 0.85),
        *trained("uniform", 8, 0.5, 0.56, 0.5),
        *trained("adarank", 8, 0.5, 0.5, 0.55),
    ]
    rows = STUDY.rows(done, {})
    assert "Rank binds: validation loss at uniform rank 8 less rank 1" in STUDY.answer(rows)
    assert "at equal parameters: rank 1 −0.070" in STUDY.details(rows)
    same = [{**one, "loss": one["loss"] + 0.4 * (one["average_rank"] == 8)} for one in done]
    assert STUDY.answer(STUDY.rows(same, {})).startswith("That rank binds cannot be shown")


@pytest.mark.parametrize(("ranks", "said"), [([1, 100_000], "100"), ([2], "at least two")])
def test_ranks_that_cannot_be_compared_are_refused(ranks, said, tiny_bert, tiny_file, tmp_path):
    request = StudyRequest(STUDY, tiny_bert, tiny_file, settings={"ranks": ranks})
    with pytest.raises(AdaRankError, match=said):
        list(study_iter(request, tmp_path))
