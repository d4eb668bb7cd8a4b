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
PLACED = ("attention-only", "mlp-only", "one-module")
SAME = ("uniform", "eva-uniform", "adalora", "scale-only", "uniform-double")


def planner_of(model, task, folder, average_rank=4, **options):
    request = ComparisonRequest(model, task.name, ("uniform",), average_rank, trials=2, **options)
    return Planner(request, objective_for(task), output=folder)


@pytest.fixture(scope="module")
def planner(tiny_bert, tiny_task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planner")
    return planner_of(tiny_bert, tiny_task, folder)


@pytest.mark.parametrize("arm", RANKED)
def test_every_arm_has_the_parameters_of_uniform_ranks(planner, tiny_bert, arm):
    planned = planner.plan(arm, seed=0)
    used, residual = planner.size_of(planned.plan)
    assert used + residual == same_rank(tiny_bert, 4).budget["lora_parameters"]
    if arm not in ("one-module", "uniform-double"):
        assert residual == (32 if arm == "mlp-only" else 0)  # of 96 for each of its ranks
    # Random weights are aligned with nothing, so that PLoP's ranks need not differ.
    assert (len(set(planned.plan.ranks.values())) == 1) == (arm in SAME) or arm == "plop"
    if arm != "scale-only":
        assert planned.plan.alpha == {name: 2 * rank for name, rank in planned.plan.ranks.items()}
    special = {"eva": "eva", "eva-uniform": "eva", "adalora": "adalora"}
    assert planned.method == special.get(arm, "lora")
    free = {*SAME, *PLACED, "ramp-up", "ramp-down", "random"} - {"scale-only", "one-module"}
    assert (planned.seconds > 0) == (arm not in free)


def test_scale_only_has_the_step_sizes_and_not_the_ranks(planner, tiny_bert):
    ranks = planner.plan("adarank", 0).plan.ranks
    plan = planner.plan("scale-only", 0).plan
    assert plan.ranks == same_rank(tiny_bert, 4).ranks
    assert plan.alpha == {name: 2 * rank for name, rank in ranks.items()}
    assert plan.scaling == {name: 2 * rank / 4 for name, rank in ranks.items()}


def test_twice_the_budget_is_said_to_be_over_it(planner):
    plan = planner.plan("uniform-double", 0).plan
    assert set(plan.ranks.values()) == {8} and not ARMS["uniform-double"].matched
    assert planner.size_of(plan) == (2 * planner.parameters, -planner.parameters)


def test_arms_of_one_place_spend_all_there(planner):
    attention, mlp = (planner.plan(f"{part}-only", 0).plan for part in ("attention", "mlp"))
    inside = {name for name, rank in attention.ranks.items() if rank}
    assert inside == {name for name in attention.ranks if "attention" in name}
    assert inside == {name for name, rank in mlp.ranks.items() if not rank}
    assert {attention.ranks[name] for name in inside} == {7}  # 3,584 parameters, 512 a rank
    assert {rank for rank in mlp.ranks.values() if rank} == {9, 10}  # 3,584 / 384 is 9.3


def test_one_module_is_filled_up_to_its_size(planner, tiny_bert, tiny_task, tmp_path):
    plan = planner.plan("one-module", 0).plan
    scores = read_json(planner.output / "scores" / "adarank-seed0.json")["modules"]
    first = max(scores, key=lambda module: module["score"])
    assert {name: rank for name, rank in plan.ranks.items() if rank} == {first["name"]: 32}
    cost = 32 * (first["in_features"] + first["out_features"])
    assert planner.size_of(plan) == (cost, planner.parameters - cost)
    assert plan.budget["residual"] == planner.parameters - cost > 0
    # A budget that it can take is spent as far as whole ranks go.
    small = planner_of(tiny_bert, tiny_task, tmp_path, average_rank=1)
    (rank,) = filter(None, small.plan("one-module", 0).plan.ranks.values())
    assert rank == small.parameters // (first["in_features"] + first["out_features"]) < 32


@pytest.mark.parametrize("policy", ["constant", "rslora"])
def test_one_alpha_is_the_same_in_all_arms_and_peft_scales_by_it(
    tiny_bert, tiny_task, tmp_path, policy
):
    from adarank_core.ranks.verification import layers_of_model
    from adarank_core.training.adapters import adapted

    planner = planner_of(tiny_bert, tiny_task, tmp_path, alpha=policy)
    one, power = {"constant": (8, 1), "rslora": (4, 0.5)}[policy]  # 2 × 4, and 2 × its root
    for arm in ("uniform", "adarank", "permuted", "mlp-only", "one-module", "uniform-double"):
        plan = planner.plan(arm, 0).plan
        assert {plan.alpha[name] for name, rank in plan.ranks.items() if rank} == {one}
        found = layers_of_model(adapted(load_model(tiny_bert), plan))
        for name, rank in plan.ranks.items():
            if rank:
                assert found[name].scaling == pytest.approx(one / rank**power)
    # What scale-only keeps is how far a module moves: its scaling times its rank.
    steps, own = (planner.plan(arm, 0).plan for arm in ("scale-only", "adarank"))
    for name, rank in own.ranks.items():
        assert steps.scaling[name] * 4 == pytest.approx(own.scaling[name] * rank)
    assert (len({round(step, 9) for step in steps.scaling.values()}) == 1) == (power == 1)


@pytest.mark.parametrize("arm", WITHOUT_RANKS)
def test_arms_without_ranks_say_how_many_parameters_they_are_short_of(planner, arm):
    planned = planner.plan(arm, seed=0)
    assert planned.plan is None and planned.method == arm
    assert planner.size_of(None) == (0, planner.size_of(planner.plan("uniform", 0).plan)[0])


def test_arms_are_unlike_each_other_but_for_eva(planner):
    ranks = {arm: tuple(planner.plan(arm, 0).plan.ranks.values()) for arm in RANKED}
    assert ranks.pop("eva") == ranks["eva-ranks"]
    same = ("eva-uniform", "adalora", "scale-only")
    assert {ranks.pop(arm) for arm in same} == {ranks["uniform"]}
    # Random weights are aligned with nothing, so that PLoP's need not differ.
    del ranks["plop"]
    assert len(set(ranks.values())) == len(ranks)


def test_the_inverse_arm_turns_adarank_round(planner):
    forward, back = (planner.plan(arm, 0).plan.ranks for arm in ("adarank", "inverse"))
    first, second = list(forward.values()), list(back.values())
    assert np.corrcoef(first, second)[0, 1] < -0.5


def test_random_and_permuted_ranks_are_others_with_every_seed(planner):
    for arm in ("random", "permuted"):
        assert planner.plan(arm, 0).plan.ranks != planner.plan(arm, 1).plan.ranks
        assert planner.plan(arm, 0).plan == planner.plan(arm, 0).plan


@pytest.mark.parametrize("arm", ["gradient", "snip", "fisher", "lora-gradient"])
def test_labels_come_from_the_training_rows_that_all_arms_read(
    tiny_bert, tiny_task, tmp_path, monkeypatch, arm
):
    from adarank_core.scoring import baselines

    name = {"gradient": "gradient_norm", "fisher": "empirical_fisher"}.get(arm)
    name = name or arm.replace("-", "_")
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
