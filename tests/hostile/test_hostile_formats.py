"""Every format with one value anywhere, or a key, replaced by any JSON: read, or one sentence."""

import copy
import json
from functools import partial, reduce
from operator import getitem

import peft  # noqa: F401 (so that its seconds are not counted below)
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from adarank_core import RankPlan, Scores, Verdict, allocate, read_plan
from adarank_core.commands.options import output_folder
from adarank_core.comparison.compare import read_request
from adarank_core.comparison.judging import Declared, verdict_of
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.comparison.sentences import describe
from adarank_core.files import read_json
from adarank_core.ranks.export import snippet
from adarank_core.ranks.portable import portable
from adarank_core.ranks.report import ranks_csv, report_html
from adarank_core.ranks.verification import verify
from adarank_core.runs.jobs import run_folder
from adarank_core.training.settings import Settings
from tests.ranks import extremes


def scores_file():
    scores = extremes.scores_of([(0.5, 0.1, 8, 4), (1.5, 0.2, 8, 8)])
    return {**scores.to_dict(), "trials": 4, "logits": "all", "task_type": "CAUSAL_LM"}


def read_scores(path):
    scores = Scores.from_dict(read_json(path))
    assert Scores.from_dict(json.loads(as_json(scores.to_dict()))) == scores
    assert len(scores.sha256) == 64 and scores.families


def ranks_file():
    return allocate(extremes.scores_of([(0.5, 0.1, 8, 4), (1.5, 0.2, 8, 8)]), 3).to_dict()


def read_ranks(path):
    plan = read_plan(path)
    assert RankPlan.from_dict(json.loads(as_json(plan.to_dict()))) == plan
    for text in (snippet(plan), ranks_csv(plan), report_html(plan)):
        assert text.encode()
    assert plan.scaling and plan.lora_arguments()


def adapter_file():
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": "bert",
        "task_type": "SEQ_CLS",
        "r": 8,
        "lora_alpha": 16,
        "use_rslora": False,
        "target_modules": ["0.query", "0.value"],
        "exclude_modules": ["1.query"],
        "rank_pattern": {r"0\.query": 4},
        "alpha_pattern": {"value": 8.5},
        "layers_to_transform": [0],
        "layers_pattern": ["layers"],
        "use_dora": False,
        "bias": "none",
        "modules_to_save": ["classifier"],
        "init_lora_weights": True,
    }


def read_adapter(path):
    """Read it with and without the model; hold it against weights of two modules, and pad them."""
    tensors = {}
    for name, rank in (("0.query", 4), ("0.value", 8)):
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.zeros(rank, 8)
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.zeros(8, rank)
    save_file(tensors, path.with_name("adapter_model.safetensors"))
    for modules in (None, ["layers.0.query", "0.value", "1.query"]):
        extremes.result_or_refusal(read_plan, path, modules)
    extremes.result_or_refusal(verify, path.parent, RankPlan("m", {"0.query": 4}, {"0.query": 8}))
    extremes.result_or_refusal(portable, path.parent, path.parent / "portable")


def verdict_file():
    runs = [{"seed": seed, "test_loss": 0.5 + seed, "auc": 0.5, "steps": 9} for seed in (0, 1)]
    about = {"lora_parameters": 9, "allocation_seconds": 0.5, "runs": runs, "ranks": {"a": 1}}
    arms = {arm: {**about, "learning_rate": 0.1, "search_seconds": 1} for arm in ("uniform", "eva")}
    look = {"arms": list(arms), "seeds": [0, 1], "smallest_of_interest": 0.5}
    declared = Declared("auc", 0.5, (0, 1), [look, look])
    return verdict_of("t", "m", arms, {"adarank": "it broke off"}, declared).to_dict()


def read_verdict(path):
    verdict = Verdict.from_dict(read_json(path))
    assert Verdict.from_dict(json.loads(as_json(verdict.to_dict()))) == verdict
    for compared in verdict.comparisons:
        assert describe(compared, verdict)


def config_file():
    settings = vars(Settings(steps=9))
    whole = ComparisonRequest(
        "m", "t", ("uniform",), 2.5, (0, 1), 8, Settings(), (0.1, 0.2), 2, "rslora", "auc", 0.1
    )
    versions = {"python": "3.11", "torch": "2.13"}
    return {**whole.to_dict(), "settings": settings, "versions": versions}


def read_config(path):
    run = run_folder(path.parent)
    assert run.message.isprintable() and (run.state == "damaged") == bool(run.message)
    output_folder(path.parent, config_file(), resume=True)
    assert ComparisonRequest.from_dict(run.config).flags()


def claim_file():
    about = {"model": "m", "task": "t", "task_sha256": "00", "average_rank": 2.5, "trials": None}
    about |= {"settings": vars(Settings()), "learning_rates": [0.1], "search_seed": 0}
    about |= {"metric": "test_loss", "planned_seeds": [0], "looks": [{"arms": ["a"], "seeds": [0]}]}
    return about


def read_claim(path):
    assert read_request(path.parent, ("uniform",), (0,)).flags()


FORMATS = {
    "scores.json": (scores_file(), read_scores),
    "ranks.json": (ranks_file(), read_ranks),
    "adapter_config.json": (adapter_file(), read_adapter),
    "verdict.json": (verdict_file(), read_verdict),
    "config.json": (config_file(), read_config),
    "comparison.json": (claim_file(), read_claim),
}
as_json = partial(json.dumps, allow_nan=False)


def places(data, at=()):
    """List where a value stands: the keys and positions that lead there."""
    inner = {}
    if isinstance(data, dict | list):
        inner = data if isinstance(data, dict) else dict(enumerate(data))
    return [at, *(place for key, value in inner.items() for place in places(value, (*at, key)))]


def replaced(data, place, value):
    """Return JSON with another value at a place, which is JSON already; None takes it out."""
    if not place:
        return value or ""
    mark, whole = "\x00", copy.deepcopy(data)
    *way, last = place
    inner = reduce(getitem, way, whole)
    if value is None:
        del inner[last]
    else:
        inner[last] = mark
    return json.dumps(whole).replace(json.dumps(mark), value or "")


DEEP = [opening * depth + "1" + closing * depth for depth in (60, 400, 700, 900, 100_000)
        for opening, closing in (("[", "]"), ('{"a": ', "}"))]  # fmt: skip
any_json = st.one_of(
    extremes.values.map(json.dumps),
    st.none(),
    st.sampled_from(DEEP),
    st.sampled_from(["1e999", "9" * 5000, "[NaN]", '{"a": [Infinity]}', '{"a": 1, "a": 2}', "-1"]),
    st.sampled_from([r'"\ud800"', r'["\udce9"]', r'{"\ud83d": 1}', r'"\u001b[31m"', r'"\u0000"']),
    st.sampled_from(
        ['"' + "x" * 10**5 + '"', "[" + "1," * 10**5 + "1]", '"("', '"(a|a)*$"', "1.0"]
    ),
    st.sampled_from([str(10**300), "-1e300", "1e-320", "[[]]", '[{"a": null}]', '""', "[null]"]),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
@pytest.mark.parametrize("name", FORMATS)
def test_one_value_of_a_file_may_be_anything(tmp_path_factory, name, data):
    whole, read = FORMATS[name]
    folder = tmp_path_factory.getbasetemp() / f"any-{name.removesuffix('.json')}-compare"
    folder.mkdir(exist_ok=True)
    place = data.draw(st.sampled_from(places(whole)))
    (folder / name).write_text(replaced(whole, place, data.draw(any_json)))
    extremes.result_or_refusal(read, folder / name)


@pytest.mark.parametrize("name", FORMATS)
def test_the_files_of_which_one_value_is_replaced_are_right(tmp_path, name):
    whole, read = FORMATS[name]
    folder = tmp_path / "whole-compare"
    folder.mkdir()
    (folder / name).write_text(json.dumps(whole))
    read(folder / name)
