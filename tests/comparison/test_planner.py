"""Planning: every arm has its own ranks, and all have the same number of LoRA parameters."""

import numpy as np
import pytest

from adarank_core import adaptable_modules, load_model
from adarank_core.comparison.arms import ARMS
from adarank_core.comparison.planner import Planner, same_rank
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.files import read_json
from adarank_core.training.objectives import objective_for

WITHOUT_RANKS = [name for name, arm in ARMS.items() if arm.trains]


RANKED = [name for name, arm in ARMS.items() if not arm.trains]


def planner_of(model, task, folder, average_rank=4):
    request = ComparisonRequest(model, task.name, ("uniform",), average_rank, trials=2)
    return Planner(request, objective_for(task), output=folder)


@pytest.fixture(scope="module")
def planner(tiny_bert, tiny_task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planner")
    return planner_of(tiny_bert, tiny_task, folder)


@pytest.mark.parametrize("arm", RANKED)
def test_every_arm_has_the_parameters_of_uniform_ranks(planner, tiny_bert, arm):
    planned = planner.plan(arm, seed=0)
    assert planner.size_of(planned.plan) == (same_rank(tiny_bert, 4).budget["lora_parameters"], 0)
    uniform = {"uniform", "eva-uniform", "adalora"}
    assert (len(set(planned.plan.ranks.values())) == 1) == (arm in uniform)
    assert planned.plan.alpha == {name: 2 * rank for name, rank in planned.plan.ranks.items()}
    special = {"eva": "eva", "eva-uniform": "eva", "adalora": "adalora"}
    assert planned.method == special.get(arm, "lora")
    free = {*uniform, "ramp-up", "ramp-down", "random"}
    assert (planned.seconds > 0) == (arm not in free)


@pytest.mark.parametrize("arm", WITHOUT_RANKS)
def test_arms_without_ranks_say_how_many_parameters_they_are_short_of(planner, arm):
    planned = planner.plan(arm, seed=0)
    assert planned.plan is None and planned.method == arm
    assert planner.size_of(None) == (0, planner.size_of(planner.plan("uniform", 0).plan)[0])


def test_arms_are_unlike_each_other_but_for_eva(planner):
    ranks = {arm: tuple(planner.plan(arm, 0).plan.ranks.values()) for arm in RANKED}
    assert ranks.pop("eva") == ranks["eva-ranks"]
    assert ranks.pop("eva-uniform") == ranks.pop("adalora") == ranks["uniform"]
    assert len(set(ranks.values())) == len(ranks)


def test_the_inverse_arm_turns_adarank_round(planner):
    forward, back = (planner.plan(arm, 0).plan.ranks for arm in ("adarank", "inverse"))
    first, second = list(forward.values()), list(back.values())
    assert np.corrcoef(first, second)[0, 1] < -0.5


def test_random_and_permuted_ranks_are_others_with_every_seed(planner):
    for arm in ("random", "permuted"):
        assert planner.plan(arm, 0).plan.ranks != planner.plan(arm, 1).plan.ranks
        assert planner.plan(arm, 0).plan == planner.plan(arm, 0).plan


@pytest.mark.parametrize("arm", ["gradient", "snip", "fisher"])
def test_labels_come_from_the_training_rows_that_all_arms_read(
    tiny_bert, tiny_task, tmp_path, monkeypatch, arm
):
    from adarank_core.scoring import baselines

    name = {"gradient": "gradient_norm", "snip": "snip", "fisher": "empirical_fisher"}[arm]
    seen, real = [], getattr(baselines, name)
    monkeypatch.setattr(baselines, name, lambda *given: seen.append(given[1:]) or real(*given))
    planner = planner_of(tiny_bert, tiny_task, tmp_path)
    planner.plan(arm, seed=3)
    ((texts, labels, seed),) = seen
    assert texts.items == tiny_task.sample_texts(16, seed=3).items and seed == 3
    known = dict(zip(tiny_task.train["text"], tiny_task.train["label"], strict=True))
    assert labels == [known[text] for text in texts.items]


def test_scores_are_computed_once_and_their_seconds_count_for_all(planner, monkeypatch):
    from adarank_core.scoring import score

    first = planner.plan("adarank", 0)
    monkeypatch.setattr(score, "score_iter", lambda *a, **o: pytest.fail("scored again"))
    for arm in ("adarank", "permuted", "inverse"):
        spent = read_json(planner.output / "scores" / "adarank-seed0.json")["seconds"]
        assert planner.plan(arm, 0).seconds >= spent > 0
    assert planner.plan("adarank", 0).plan == first.plan


def test_a_rank_that_is_no_whole_number_is_matched_too(tiny_bert, tiny_task, tmp_path):
    planner = planner_of(tiny_bert, tiny_task, tmp_path, average_rank=2.5)
    module = adaptable_modules(load_model(tiny_bert).model)[0]
    for arm in ("uniform", "adarank", "eva-ranks"):
        _, residual = planner.size_of(planner.plan(arm, 0).plan)
        assert 0 <= residual < module.in_features + module.out_features


@pytest.mark.parametrize("name", ARMS)
def test_the_table_says_what_is_read_for_an_arm(tiny_bert, tiny_task, tmp_path, name):
    from adarank_core.training.objectives import Classification

    class Spy(Classification):
        def sample(self, count, seed):
            texts, labels = super().sample(count, seed)
            return texts, Labels(labels)

    class Labels(list):
        def __iter__(self):
            read.append(name)
            return super().__iter__()

    events, read = [], []
    request = ComparisonRequest(tiny_bert, "tiny", (name,), 2, trials=2)
    options = {"output": tmp_path, "on_event": events.append}
    Planner(request, Spy(tiny_task), **options).plan(name, 0)
    assert bool(read) == ARMS[name].needs_labels
    assert {event["arm"] for event in events} == ({name} if ARMS[name].scores else set())
    kept = [path.name for path in tmp_path.rglob("*.json")]
    costs = not ARMS[name].trains and not ARMS[name].origin.free
    assert kept == ([f"{ARMS[name].origin.name}-seed0.json"] if costs else [])
