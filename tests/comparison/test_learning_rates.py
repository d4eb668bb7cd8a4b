"""The search for a learning rate: on validation, the same for all arms, counted and kept."""

import math
import re

import numpy as np
import pytest

from adarank_core import AdaRankError, RankPlan, Verdict, compare, load_model
from adarank_core.comparison.compare import Comparison
from adarank_core.comparison.learning_rates import Trial, best_rate, check_learning_rates
from adarank_core.comparison.planner import same_rank
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.files import read_json
from adarank_core.training import finetuning
from adarank_core.training.objectives import Classification
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
    for rate in GRID["learning_rates"][:2]:  # again, with the adapters that are saved
        settings = Settings(steps=3, batch_size=8, evaluations=1, learning_rate=rate)
        plan, folder = same_rank(tiny_bert, 4), tmp_path / str(rate)
        finetuning.finetune(tiny_bert, tiny_task, plan, settings, seed=1, output=folder)
        bundle = load_model(tiny_bert, head="classification")
        model = PeftModel.from_pretrained(bundle.model, folder / "adapter").eval()
        tokens = bundle.tokenizer(list(validation["text"]), padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = model(tokens["input_ids"], tokens["attention_mask"]).logits
        labels = torch.tensor(validation["label"].tolist())
        losses[str(rate)] = torch.nn.functional.cross_entropy(logits, labels).item()
    told = chosen["uniform"]["validation_loss"]
    assert told.pop("1e+30") is None
    assert told == pytest.approx(losses, rel=0.01) and abs(np.diff(list(losses.values()))) > 0.01
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
    assert len(seconds) == 3
    assert verdict.arms["ramp-up"]["search_seconds"] == pytest.approx(sum(seconds))
    assert not list(folder.glob("runs/*-search-*/adapter"))
    search = [event for event in events if "search" in event]
    assert {event["event"] for event in search} == {"step", "evaluation"}
    assert {event["seed"] for event in search} == {1}
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
    # A new arm's rate is chosen with the seed that the others' were chosen with.
    compare(tiny_bert, tiny_task, ("ramp-down",), seeds=(2,), **options)
    assert [seed for name, seed in trained if "search" in name] == [1, 1, 1]
    for other in ((), (1e-4, 2e-2)):
        with pytest.raises(AdaRankError, match="learning_rates is"):
            compare(tiny_bert, tiny_task, **{**options, "learning_rates": other})


def test_an_arm_that_diverges_at_every_rate_fails(tiny_bert, tiny_task, tmp_path):
    options = {**GRID, "learning_rates": (1e29, 1e30), "output": tmp_path}
    why = "seed 0: the loss is not finite at learning rates of 1e+29, 1e+30; lower them"
    with pytest.raises(AdaRankError, match=re.escape(f"'uniform' failed with {why}")):
        compare(tiny_bert, tiny_task, ("uniform",), **options)


def test_a_search_that_is_told_to_stop_goes_on_later(tiny_bert, tiny_task, tmp_path):
    events = []
    options = {**GRID, "learning_rates": (1e-3, 2e-3), "output": tmp_path}
    stop = {"should_stop": lambda: any(event.get("search") == 2e-3 for event in events)}
    stop["on_event"] = events.append
    assert compare(tiny_bert, tiny_task, ("uniform",), **stop, **options) is None
    assert [path.parent.name for path in tmp_path.rglob("result.json")] == ["uniform-search-0.001"]
    events.clear()
    assert compare(tiny_bert, tiny_task, ("uniform",), on_event=events.append, **options)
    assert events[0] == {
        "event": "resumed", "step": 2, "arm": "uniform", "seed": 0, "search": 2e-3
    }  # fmt: skip


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

    def train(rate):
        seen.append(rate)
        return Trial(losses[rate], 10 * rate)

    found = best_rate(list(losses), train)
    assert seen == list(losses) and found.learning_rate == 0.1
    assert found.search_seconds == pytest.approx(10.0)
    assert found.validation_loss == {"0.3": 0.5, "0.1": 0.2, "0.2": None, "0.4": 0.2}
    assert best_rate([1.0, 2.0], lambda rate: None) is None
