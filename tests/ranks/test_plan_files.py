"""Plans read from files, held against what PEFT makes of them."""

import json
import math
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model

from adarank_core import AdaRankError, RankPlan, allocate, load_model, read_plan
from adarank_core.ranks.export import export
from adarank_core.ranks.plan_files import adapter_folder, checked_adapter
from adarank_core.ranks.plans import ALPHA_POLICIES
from adarank_core.scoring.models import adaptable_modules
from tests.ranks import extremes


@pytest.fixture
def write(tmp_path):
    def written(data, name="adapter_config.json"):
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return written


def test_a_folder_of_several_adapters_names_one_of_them(write, tmp_path):
    run = tmp_path / "runs" / "adarank-seed0" / "adapter"
    run.mkdir(parents=True)
    write({}, "runs/adarank-seed0/adapter/adapter_config.json")
    assert adapter_folder(tmp_path) == run
    other = tmp_path / "runs" / "adarank-seed1" / "adapter"
    other.mkdir(parents=True)
    assert adapter_folder(tmp_path) == run  # a folder alone is no adapter
    write({}, "runs/adarank-seed1/adapter/adapter_config.json")
    with pytest.raises(AdaRankError, match=r"has 2 adapters in it; .* such as '.*seed0/adapter'"):
        adapter_folder(tmp_path)


def test_a_name_that_no_file_can_have_is_no_adapter():
    assert adapter_folder("x" * 300).name == "x" * 300


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": ["query", "value"]},
        {"target_modules": ["query", "value"], "rank_pattern": {"query": 3}},
        {
            "target_modules": ["query", "value", "dense"],
            "rank_pattern": {r"layer\.1\..*query": 2, "query": 3, "output.dense": 1},
            "alpha_pattern": {"value": 5, r"layer\.0\.attention.*": 20},
            "exclude_modules": ["pooler.dense"],
        },
        {"target_modules": r".*layer\.[01]\.attention\.self\.(query|key)", "r": 5},
        {"target_modules": ["query", "key"], "layers_to_transform": [1], "use_rslora": True},
    ],
    ids=str,
)
def test_an_adapter_is_read_as_peft_reads_it(options, tmp_path, tiny_bert):
    model = load_model(tiny_bert).model
    names = [module.name for module in adaptable_modules(model)]
    get_peft_model(model, LoraConfig(**{"lora_alpha": 12, **options})).save_pretrained(tmp_path)
    # What counts is the file: PEFT sorts its patterns, and so another may be the first that fits.
    adapted = PeftModel.from_pretrained(load_model(tiny_bert).model, tmp_path)
    found = {
        name.removeprefix("base_model.model."): module
        for name, module in adapted.named_modules()
        if hasattr(module, "lora_A")
    }
    plan = read_plan(tmp_path / "adapter_config.json", names)
    assert plan.ranks == {name: module.r["default"] for name, module in found.items()}
    assert plan.alpha == {name: module.lora_alpha["default"] for name, module in found.items()}
    wanted = {name: module.scaling["default"] for name, module in found.items()}
    assert plan.scaling == pytest.approx(wanted)
    assert plan.budget["spent"] == sum(plan.ranks.values())
    assert RankPlan.from_dict(plan.to_dict()) == plan


@pytest.mark.parametrize("policy", ALPHA_POLICIES)
def test_our_own_files_are_read_back(policy, made_up, tmp_path):
    plan = allocate(made_up(), 8, min_rank=0, alpha_policy=policy)
    ranks_file, adapter_file, *_ = export(plan, tmp_path)
    names = list(plan.ranks)
    assert read_plan(ranks_file) == read_plan(ranks_file, names) == plan
    kept = {name: rank for name, rank in plan.ranks.items() if rank}
    back = read_plan(adapter_file, names)
    assert back.ranks == kept and back.scaling == plan.scaling
    assert back.model == "sentence-transformers/all-MiniLM-L6-v2"  # as others know "embedded"
    assert back.alpha_policy == policy
    # Without the model, names are escaped patterns of themselves.
    assert read_plan(adapter_file).ranks == kept


def good_adapter():
    return {
        "peft_type": "LORA",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["0.query", "0.value"],
        "rank_pattern": {r"0\.query": 4},
        "alpha_pattern": {},
        "base_model_name_or_path": "bert",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "'peft_type' of the adapter is 'IA3'; it must be 'LORA'"),
        (
            {"rank_pattern": {"0.query": 2.5}},
            "'0.query' of 'rank_pattern' of the adapter is 2.5; it must",
        ),
        (
            {"rank_pattern": {"0.query": -1}},
            "'0.query' of 'rank_pattern' of the adapter is -1; it must",
        ),
        ({"rank_pattern": {"0.query": 10**9}}, "is 1000000000; it must be less than"),
        (
            {"rank_pattern": {"0.query": True}},
            "'0.query' of 'rank_pattern' of the adapter is True; it",
        ),
        ({"rank_pattern": ["0.query"]}, "'rank_pattern' of the adapter is"),
        ({"rank_pattern": {"(": 2}}, "not a regular expression"),
        ({"rank_pattern": {"key": 2}}, "fits none"),
        (
            {"alpha_pattern": {"value": "8"}},
            "'value' of 'alpha_pattern' of the adapter is '8'; it must",
        ),
        (
            {"alpha_pattern": {"value": -8}},
            "'value' of 'alpha_pattern' of the adapter is -8; it must",
        ),
        ({"r": 0}, "'r' of the adapter is 0; it must be greater than or equal to 1"),
        ({"r": None}, "'r' of the adapter is None; it must be a valid integer"),
        ({"target_modules": None}, "target_modules of the adapter is None"),
        ({"target_modules": []}, "target_modules of the adapter is"),
        ({"lora_alpha": 1e300}, "'lora_alpha' of the adapter is 1e+300; it must be less than"),
        ({"use_rslora": "no"}, "'use_rslora' of the adapter is 'no'; it must be a valid bool"),
        ({"task_type": "X"}, "'task_type' of the adapter is 'X'; it must be 'SEQ_CLS'"),
        ({"base_model_name_or_path": 3}, "'base_model_name_or_path' of the adapter is 3"),
        ({"layers_to_transform": ["1"]}, "'1'; it must be a valid integer"),
        ({"exclude_modules": {}}, "'exclude_modules' of the adapter is {}; it must be a valid"),
        ({"target_modules": [3]}, "target_module 1 of the adapter is 3; it must be a valid string"),
    ],
    ids=str,
)
@pytest.mark.parametrize("modules", [None, ["0.query", "0.value"]], ids=["alone", "model"])
def test_hand_edited_adapters_are_told_apart(write, change, message, modules):
    assert read_plan(write(good_adapter()), modules).ranks == {"0.query": 4, "0.value": 8}
    path = write({**good_adapter(), **change})
    with pytest.raises(AdaRankError, match=re.escape(message)) as caught:
        read_plan(path, modules)
    assert "\n" not in str(caught.value)


def test_a_pattern_fits_whole_names_and_their_ends_after_a_dot(write):
    names = ["0.query", "0.xquery"]
    adapter = {**good_adapter(), "target_modules": names, "rank_pattern": {"query": 3}}
    for modules in (None, names):
        assert read_plan(write(adapter), modules).ranks == {"0.query": 3, "0.xquery": 8}


def test_other_models_plans_are_told_apart(write):
    with pytest.raises(AdaRankError, match=r"none of the model's 1 modules.*'bert'"):
        read_plan(write(good_adapter()), ["h.0.c_attn"])
    with pytest.raises(AdaRankError, match="is the pattern"):
        read_plan(write({**good_adapter(), "target_modules": ".*query", "rank_pattern": {}}))
    with pytest.raises(AdaRankError, match="not a regular expression"):
        read_plan(write({**good_adapter(), "target_modules": "("}), ["0.query"])
    plan = RankPlan("other", {"0.query": 4}, {"0.query": 8})
    path = write(plan.to_dict(), "ranks.json")
    assert read_plan(path, ["0.query", "0.key"]) == plan
    with pytest.raises(AdaRankError, match=r"name '0.query', which is none.*'other'"):
        read_plan(path, ["h.0.c_attn"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"peft_type": "LORA", "r": 8, "r": 9}', "names 'r' twice"),
        ('{"format": "adarank-ranks/1", "ranks": {"a": 1, "b": 2, "a": 3}}', "names 'a' twice"),
        ('{"format": "adarank-scores/1"}', "not a ranks file"),
        ('{"format": "adarank-scores/1", "peft_type": "LORA"}', "not a ranks file"),
        ("{}", "not a ranks file"),
        ("[]", "not a ranks file"),
        ("{", "not valid JSON"),
        ('{"format": "adarank-ranks/1", "ranks": {"a": NaN}}', "must be finite"),
    ],
)
def test_files_that_are_no_plan_are_refused_in_one_sentence(write, text, message):
    with pytest.raises(AdaRankError, match=message) as caught:
        read_plan(write(text))
    assert "\n" not in str(caught.value)


# Numbers at the ends of what there is

KEYS = ["model", "ranks", "alpha", "budget", "scores_sha256", "task_type"]
INNER = ["ranks", "alpha", "budget"]


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from(KEYS), extremes.values, max_size=1),
    st.dictionaries(st.sampled_from(INNER), st.tuples(st.sampled_from("ab"), extremes.values)),
)
def test_any_number_in_a_file_is_read_or_refused(tmp_path_factory, outer, inner):
    data = RankPlan("tiny", {"a": 4}, {"a": 8}, {"by": "rank"}).to_dict()
    for key, (name, value) in inner.items():
        data[key][name] = value
    plan = extremes.result_or_refusal(RankPlan.from_dict, {**data, **outer})
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({**data, **outer}))
    assert extremes.result_or_refusal(read_plan, path) == plan
    if plan is not None:
        assert plan.lora_config().rank_pattern["a"] == plan.ranks["a"]
        assert all(0 <= scaling < math.inf for scaling in plan.scaling.values())
        # What was read can be written, and is the same again.
        assert RankPlan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False))) == plan


ADAPTER_KEYS = ["r", "lora_alpha", "target_modules", "rank_pattern", "alpha_pattern", "peft_type"]
ADAPTER_KEYS += ["exclude_modules", "layers_to_transform", "layers_pattern", "use_rslora"]
ADAPTER_KEYS += ["task_type", "base_model_name_or_path"]


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from(ADAPTER_KEYS), extremes.values, max_size=2),
    st.tuples(st.sampled_from(["rank_pattern", "alpha_pattern"]), extremes.values),
    st.sampled_from([None, ["0.query", "0.value", "1.query"]]),
)
def test_any_number_in_an_adapter_is_read_or_refused(tmp_path_factory, outer, inner, modules):
    data = good_adapter()
    data[inner[0]] = {r"0\.query": inner[1]}
    path = tmp_path_factory.getbasetemp() / "any-adapter.json"
    path.write_text(json.dumps({**data, **outer}))
    plan = extremes.result_or_refusal(read_plan, path, modules)
    if plan is not None:
        assert RankPlan.from_dict(json.loads(json.dumps(plan.to_dict(), allow_nan=False))) == plan


# What a plan cannot hold


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"], "task_type": "CAUSAL_LM"},
        {"target_parameters": ["experts.down_proj"]},
        {"layer_replication": [[0, 4], [2, 5]]},
        {"trainable_token_indices": [1, 2]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_more_than_ranks_and_scalings_is_refused(write, change):
    with pytest.raises(AdaRankError, match="which a plan of ranks cannot hold") as caught:
        read_plan(write({**good_adapter(), **change}))
    assert next(iter(change)) in str(caught.value)
    # What a head is saved with is no loss.
    head = {"modules_to_save": ["classifier"], "task_type": "SEQ_CLS", "bias": "none"}
    assert read_plan(write({**good_adapter(), **head})).task_type == "SEQ_CLS"


@pytest.mark.parametrize(
    "change",
    [{"exclude_modules": ["0.query"]}, {"layers_to_transform": [1]}],
    ids=["out", "layers"],
)
def test_what_leaves_modules_out_needs_the_model(write, change):
    with pytest.raises(AdaRankError, match="give the model"):
        read_plan(write({**good_adapter(), **change}))


def test_a_target_that_is_no_module_is_named_and_not_dropped(write):
    adapter = {**good_adapter(), "target_modules": ["query", "lm_head"], "rank_pattern": {}}
    with pytest.raises(AdaRankError, match="names 'lm_head', which is none of the 2 modules"):
        read_plan(write(adapter), ["0.query", "0.value"])


@pytest.mark.parametrize(
    "change",
    [
        {"target_modules": "(a|a)*$"},
        {"exclude_modules": "(a|a)*$", "target_modules": "all-linear"},
        {"rank_pattern": {"(a|a)*$": 2}, "target_modules": "all-linear"},
        {"alpha_pattern": {"(a|a)*$": 2}, "target_modules": "all-linear", "rank_pattern": {}},
    ],
    ids=["target", "exclude", "rank", "alpha"],
)
def test_patterns_that_would_hang_are_given_up(write, change):
    with pytest.raises(AdaRankError, match="takes too long to match"):
        read_plan(write({**good_adapter(), **change}), ["a" * 60 + "!"])


def test_a_hundred_thousand_modules_are_read_in_seconds(write):
    names = [f"model.layers.{at}.self_attn.q_proj" for at in range(100_000)]
    escaped = {re.escape(name): 1 + at % 7 for at, name in enumerate(names)}
    adapter = {**good_adapter(), "target_modules": names, "rank_pattern": escaped}
    path, began = write(adapter), time.process_time()
    assert list(read_plan(path, names).ranks.values())[:8] == [1, 2, 3, 4, 5, 6, 7, 1]
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rank_pattern": {rf"layer.(a|{at})": 2 for at in range(501)}}, "501 regular expressions"),
        ({"alpha_pattern": {rf"layer.(a|{at})": 2 for at in range(501)}}, "at most 500, or plain"),
        ({"layers_to_transform": 0, "layers_pattern": ["x"] * 21}, "'layers_pattern'"),
    ],
)
def test_more_expressions_than_end_within_seconds_are_refused(values, said):
    """A hundred thousand took over two minutes to compile."""
    with pytest.raises(AdaRankError, match=said):
        checked_adapter({"peft_type": "LORA", "target_modules": ["query"], **values})
