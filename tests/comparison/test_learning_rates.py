"""The search for a learning rate: on validation, the same for all arms, counted and kept."""

import itertools
import math
import re

import numpy as np
import pytest

from adarank_core import AdaRankError, RankPlan, Verdict, compare, load_model
from adarank_core.comparison.compare import Comparison
from adarank_core.comparison.learning_rates import (
    SEARCH_SEEDS,
    Trial,
    best_rate,
    check_learning_rates,
)
from adarank_core.comparison.planner import same_rank
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.files import read_json
from adarank_core.training import finetuning
from adarank_core.training.objectives import Classification
from adarank_core.training.results import RunResult
from adarank_core.training.settings import Settings

QUICK = Settings(steps=3, batch_size=8, evaluations=1)


GRID = {"average_rank": 4, "trials": 2, "settings": QUICK, "learning_rates": (1e-4, 2e-2, 1e30)}


@pytest.fixture(scope="module")
def searched(tiny_bert, tiny_task, tmp_path_factory):
    """Two arms with a grid of which one rate diverges: the verdict, its events and its folder."""
    folder, events = tmp_path_factory.mktemp("grid"), []
    arms, options = ("uniform", "ramp-up"), {"output": folder, "seeds": (1, 2), **GRID}
    verdict = compare(tiny_bert, tiny_task, arms, on_event=events.append, **options)
    return verdict, events, folder


def test_every_arm_gets_the_rate_with_the_lowest_validation_loss(
    searched, tiny_bert, tiny_task, tmp_path
):
    import torch
    from peft import PeftModel

    verdict, events, _ = searched
    chosen = {event["arm"]: event for event in events if event["event"] == "chosen"}
    assert list(chosen) == ["uniform", "ramp-up"]
    losses, validation = {}, tiny_task.validation
    grid = GRID["learning_rates"][:2]
    for rate, seed in itertools.product(grid, SEARCH_SEEDS):  # again, with the saved adapters
        settings = Settings(steps=3, batch_size=8, evaluations=1, learning_rate=rate)
        plan, folder = same_rank(tiny_bert, 4), tmp_path / f"{rate}-{seed}"
        finetuning.finetune(tiny_bert, tiny_task, plan, settings, seed=seed, output=folder)
        bundle = load_model(tiny_bert, head="classification")
        model = PeftModel.from_pretrained(bundle.model, folder / "adapter").eval()
        tokens = bundle.tokenizer(list(validation["text"]), padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = model(tokens["input_ids"], tokens["attention_mask"]).logits
        labels = torch.tensor(validation["label"].tolist())
        loss = torch.nn.functional.cross_entropy(logits, labels).item()
        losses[str(rate)] = losses.get(str(rate), 0.0) + loss / len(SEARCH_SEEDS)
    told = chosen["uniform"]["validation_loss"]
    assert told.pop("1e+30") is None
    assert told == pytest.approx(losses, rel=0.01) and abs(np.diff(list(losses.values()))) > 0.005
    assert str(chosen["uniform"]["learning_rate"]) == min(losses, key=losses.get)
    for arm, event in chosen.items():
        finite = {float(r): loss for r, loss in event["validation_loss"].items() if loss}
        assert verdict.arms[arm]["learning_rate"] == min(finite, key=finite.get)


def test_trainings_use_the_chosen_rate_and_tell_what_the_search_took(
    searched, tiny_bert, tiny_task
):
    verdict, events, folder = searched
    rate = verdict.arms["ramp-up"]["learning_rate"]
    settings = Settings(steps=3, batch_size=8, evaluations=1, learning_rate=rate)
    plan = RankPlan.from_dict(read_json(folder / "runs" / "ramp-up-seed2" / "ranks.json"))
    alone = finetuning.finetune(tiny_bert, tiny_task, plan, settings, seed=2)
    assert verdict.arms["ramp-up"]["runs"][1]["test_loss"] == alone["test_loss"]
    results = folder.glob("runs/ramp-up-search-*/result.json")
    seconds = [read_json(path)["train_seconds"] for path in results]
    assert len(seconds) == 5  # one rate diverges with the first of two seeds
    assert verdict.arms["ramp-up"]["search_seconds"] == pytest.approx(sum(seconds))
    assert not list(folder.glob("runs/*-search-*/adapter"))
    search = [event for event in events if "search" in event]
    assert {event["event"] for event in search} == {"step", "evaluation"}
    assert {event["seed"] for event in search} == set(SEARCH_SEEDS)
    assert {event["search"] for event in search} >= {1e-4, 2e-2}
    assert Verdict.from_dict(read_json(folder / "verdict.json")) == verdict


def test_the_search_does_not_touch_the_test_texts(tiny_bert, tiny_task, tmp_path, monkeypatch):
    real = Classification.tokenise

    def tokenise(objective, bundle, rows, length):
        assert not set(rows["text"]) & set(tiny_task.test["text"])
        return real(objective, bundle, rows, length)

    monkeypatch.setattr(Classification, "tokenise", tokenise)
    arms, options = ("uniform", "head-only", "full"), {**GRID, "learning_rates": [1e-3]}
    request = ComparisonRequest(tiny_bert, "tiny", arms, **options)
    comparison = Comparison(request, tiny_task, output=tmp_path)
    assert comparison.search()
    assert sorted(comparison.chosen) == sorted(arms) and not comparison.failed
    with pytest.raises(AssertionError):
        comparison.train()


def test_a_search_is_taken_over_whatever_the_seeds(searched, tiny_bert, tiny_task, monkeypatch):
    verdict, _, folder = searched
    trained, real = [], finetuning.train

    def train(training, **options):
        trained.append((options["output"].name, training.seed))
        return real(training, **options)

    monkeypatch.setattr(finetuning, "train", train)
    options = {"output": folder, **GRID}
    again = compare(tiny_bert, tiny_task, ("uniform", "ramp-up"), seeds=(2, 1), **options)
    assert not trained  # not even at the rate that diverged
    assert again.arms["uniform"]["learning_rate"] == verdict.arms["uniform"]["learning_rate"]
    compare(tiny_bert, tiny_task, ("ramp-down",), seeds=(2,), **options)
    searching = [seed for name, seed in trained if "search" in name]
    assert searching == [*SEARCH_SEEDS, *SEARCH_SEEDS, SEARCH_SEEDS[0]]
    assert read_json(folder / "comparison.json")["search_seeds"] == list(SEARCH_SEEDS)
    for other in ((), (1e-4, 2e-2), "auto"):
        with pytest.raises(AdaRankError, match="learning_rates is"):
            compare(tiny_bert, tiny_task, **{**options, "learning_rates": other})


def test_an_arm_that_diverges_at_every_rate_fails(tiny_bert, tiny_task, tmp_path):
    options = {**GRID, "learning_rates": (1e29, 1e30), "output": tmp_path}
    why = f"seed {SEARCH_SEEDS[0]}: the loss is not finite at learning rates of 1e+29, 1e+30; lower"
    with pytest.raises(AdaRankError, match=re.escape(f"'uniform' failed with {why}")):
        compare(tiny_bert, tiny_task, ("uniform",), **options)


def test_a_search_that_is_told_to_stop_goes_on_later(tiny_bert, tiny_task, tmp_path):
    events = []
    options = {**GRID, "learning_rates": (1e-3, 2e-3), "output": tmp_path}
    stop = {"should_stop": lambda: any(event.get("search") == 2e-3 for event in events)}
    stop["on_event"] = events.append
    assert compare(tiny_bert, tiny_task, ("uniform",), **stop, **options) is None
    assert sorted(path.parent.name for path in tmp_path.rglob("result.json")) == [
        f"uniform-search-0.001-seed{seed}" for seed in sorted(SEARCH_SEEDS)
    ]
    events.clear()
    assert compare(tiny_bert, tiny_task, ("uniform",), on_event=events.append, **options)
    about = {"arm": "uniform", "seed": SEARCH_SEEDS[0], "search": 2e-3}
    assert events[0] == {"event": "resumed", "step": 2, **about}


def test_an_arm_that_fails_with_a_seed_after_its_search_is_given_up_and_tried_again(
    tiny_bert, tiny_task, tmp_path, monkeypatch
):
    trained, broken = [], [True]

    def train(training, **options):
        trained.append((training.seed, training.measure))
        if broken[0] and trained[-1] == (2, "test") and len(set(training.plan.ranks.values())) > 1:
            raise AdaRankError("memory ran out")
        loss = 0.5 + training.settings.learning_rate
        metrics = {f"{training.measure}_loss": loss}
        return RunResult(training.seed, metrics, 1.0, 3, 9, training.plan.ranks)

    monkeypatch.setattr(finetuning, "train", train)
    options = {**GRID, "learning_rates": (1e-3, 2e-3), "seeds": (1, 2), "output": tmp_path}
    verdict = compare(tiny_bert, tiny_task, ("uniform", "ramp-up"), **options)
    assert list(verdict.arms) == ["uniform"] and len(verdict.arms["uniform"]["runs"]) == 2
    assert verdict.failed == {"ramp-up": "seed 2: memory ran out"}
    assert (tmp_path / "runs" / "ramp-up-seed1" / "result.json").exists()
    trained.clear()
    broken[0] = False
    verdict = compare(tiny_bert, tiny_task, ("uniform", "ramp-up"), **options)
    assert list(verdict.arms) == ["uniform", "ramp-up"] and not verdict.failed
    assert trained == [(2, "test")]  # all else had finished


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([0.0], "holds 0.0; each must be above 0"),
        ([1e-3, -1e-3], "holds -0.001"),
        ([math.nan], "holds nan"),
        ([math.inf], "holds inf"),
        ([1e-3, 2e-3, 1e-3], "holds 0.001 twice"),
        ([n / 100 for n in range(1, 12)], "11 learning rates are given; give 1 to 10"),
        ([], "0 learning rates"),
    ],
    ids=str,
)
def test_learning_rates_that_are_no_grid_are_refused(rates, message):
    with pytest.raises(AdaRankError, match=message):
        check_learning_rates(rates)


def test_the_lowest_loss_wins_and_what_is_no_number_is_passed_over():
    losses = {0.3: 0.5, 0.1: 0.2, 0.2: None, 0.4: 0.2}
    seen = []

    def train(rate, seed):
        seen.append((rate, seed))
        loss = losses[rate]
        return Trial(None if loss is None else loss + 0.1 * seed, 10 * rate, 3.0)

    found = best_rate(list(losses), train, seeds=(1, 2))
    assert seen == [(0.3, 1), (0.3, 2), (0.1, 1), (0.1, 2), (0.2, 1), (0.4, 1), (0.4, 2)]
    assert found.learning_rate == 0.1 and found.learning_rate_at_edge
    assert found.search_seconds == pytest.approx(18.0 + 2 * 3.0)  # ranks once a seed
    assert list(found.validation_loss) == ["0.1", "0.2", "0.3", "0.4"]
    assert found.validation_loss["0.1"] == pytest.approx(0.2 + 0.15)
    assert found.validation_loss["0.2"] is None
    assert found.validation_loss_by_seed["0.3"] == {"1": 0.6, "2": 0.7}
    assert best_rate([1.0, 2.0], lambda rate, seed: None) is None


def test_a_rate_that_one_seed_likes_does_not_win():
    losses = {(0.1, 1): 0.1, (0.1, 2): 0.9, (0.2, 1): 0.4, (0.2, 2): 0.4}
    found = best_rate([0.1, 0.2], lambda *at: Trial(losses[at], 1.0), seeds=(1, 2))
    assert found.learning_rate == 0.2


@pytest.mark.parametrize(
    ("rates", "best", "at_edge"),
    [
        ([0.1, 0.2, 0.4], 0.21, False),
        ([0.1, 0.2, 0.4], 0.1, True),
        ([0.1, 0.2, 0.4], 0.5, True),
        ([0.2], 0.2, True),
        ([0.2, 0.1, 9.0], 0.2, False),  # above 5 the loss is no number: no better one lies there
    ],
    ids=str,
)
def test_a_best_rate_at_the_end_of_the_grid_is_marked(rates, best, at_edge):
    found = best_rate(rates, valley(best), seeds=(1, 2))
    assert found.learning_rate_at_edge == at_edge


def valley(best):
    """Train to a loss that is the lower, the nearer the rate is to the best."""
    return lambda rate, seed: Trial(abs(math.log(rate / best)) if rate < 5 else None, 1.0)


@pytest.mark.parametrize("best", [0.002, 0.05, 0.0006, 4.9], ids=str)
def test_a_grid_grows_until_the_best_is_inside(best):
    found = best_rate((0.0025, 0.005, 0.01), valley(best), seeds=(1, 2), grows=True)
    rates = [float(rate) for rate in found.validation_loss]
    assert np.allclose(np.diff(np.log2(rates)), 1)
    nearest = min((0.005 * 2.0**n for n in range(-9, 10)), key=lambda r: abs(math.log(r / best)))
    if len(rates) < 10:
        assert found.learning_rate == nearest and not found.learning_rate_at_edge
    else:
        assert best == 4.9 and found.learning_rate_at_edge


def test_a_grid_that_diverges_everywhere_grows_downwards_and_ends():
    tried = []
    with pytest.raises(AdaRankError, match="the loss is not finite at learning rates of"):
        best_rate((1, 2, 4), lambda rate, seed: tried.append(rate) or Trial(None, 1.0), grows=True)
    assert tried == [1, 2, 4, *(0.5**n for n in range(1, 8))]


def test_a_growing_grid_is_kept_and_a_longer_one_takes_it_over(
    tiny_bert, tiny_task, tmp_path, monkeypatch
):
    """The trainings of the search are there after the grid has grown, by itself or by hand."""
    trained = []

    def train(training, **options):
        rate, seed = training.settings.learning_rate, training.seed
        trained.append((rate, training.measure))
        loss = valley(0.03)(rate, seed).validation_loss
        metrics = {f"{training.measure}_loss": loss}
        return RunResult(seed, metrics, 1.0, 3, 9, training.plan.ranks)

    monkeypatch.setattr(finetuning, "train", train)
    options = {**GRID, "learning_rates": "auto", "output": tmp_path / "auto"}
    about = compare(tiny_bert, tiny_task, ("uniform",), **options).arms["uniform"]
    rates = ["0.0025", "0.005", "0.01", "0.02", "0.04", "0.08"]
    assert list(about["validation_loss"]) == rates and about["search_seconds"] == 12.0
    assert about["learning_rate"] == 0.04 and not about["learning_rate_at_edge"]
    assert about["validation_loss_by_seed"]["0.08"].keys() == {str(seed) for seed in SEARCH_SEEDS}
    assert trained.pop() == (0.04, "test") and len(trained) == 12
    again = compare(tiny_bert, tiny_task, ("uniform",), **options).arms["uniform"]
    assert len(trained) == 12 and again == about
    short = {**GRID, "learning_rates": (1e-3,), "output": tmp_path / "grid"}
    alone = compare(tiny_bert, tiny_task, ("uniform",), **short).arms["uniform"]
    assert alone["learning_rate_at_edge"]
    trained.clear()
    longer = {**short, "learning_rates": (2e-3, 1e-3)}
    both = compare(tiny_bert, tiny_task, ("uniform",), **longer).arms["uniform"]
    assert trained == [(2e-3, "validation")] * 2 + [(2e-3, "test")]
    assert both["validation_loss"]["0.001"] == alone["validation_loss"]["0.001"]
    with pytest.raises(AdaRankError, match="learning_rates is"):
        compare(tiny_bert, tiny_task, ("uniform",), **short)
