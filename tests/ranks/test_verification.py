"""Adapters held against plans: built by PEFT, saved by PEFT, and broken by hand."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from adarank_core import AdaRankError, RankPlan, allocate, load_model
from adarank_core.ranks.export import export
from adarank_core.ranks.plans import ALPHA_POLICIES
from adarank_core.ranks.portable import portable
from adarank_core.ranks.verification import check_built_adapter, layers_of_model, verify
from adarank_core.scoring.models import adaptable_modules


def plan_for(bundle, policy="proportional"):
    """Ranks 0, 1, 2, 3 in turn."""
    from adarank_core import ModuleScore, Scores

    modules = tuple(
        ModuleScore(**vars(module), score=float(at % 4), standard_error=0.0)
        for at, module in enumerate(adaptable_modules(bundle.model))
    )
    scores = Scores(bundle.name, "paper", "fast", 1.0, 0, {}, modules)
    return allocate(scores, average_rank=1.5, min_rank=0, alpha_policy=policy)


@pytest.fixture
def bundle(tiny_bert):
    return load_model(tiny_bert)


@pytest.fixture
def saved(bundle, tmp_path):
    """A plan and the folder of its adapter, as PEFT saves it."""
    plan = plan_for(bundle)
    get_peft_model(bundle.model, plan.lora_config()).save_pretrained(tmp_path / "adapter")
    return plan, tmp_path / "adapter"


@pytest.mark.parametrize("policy", ALPHA_POLICIES)
def test_what_peft_builds_and_saves_is_the_plan(policy, bundle, tmp_path):
    plan = plan_for(bundle, policy)
    model = get_peft_model(bundle.model, plan.lora_config())
    check_built_adapter(plan, model)
    model.save_pretrained(tmp_path)
    checked = verify(tmp_path, plan)
    assert checked.is_the_plan and checked.found == layers_of_model(model)
    assert {name for name, rank in plan.ranks.items() if rank} == set(checked.found)


def test_an_exported_adapter_without_weights_is_the_plan(bundle, tmp_path):
    plan = plan_for(bundle, "rslora")
    export(plan, tmp_path)
    checked = verify(tmp_path, plan)
    assert checked.is_the_plan
    assert "no weights" in checked.notes[0]


def test_patterns_of_another_program_are_read_off_the_tensors(bundle, tmp_path):
    """One pattern for many modules, as people write them."""
    config = LoraConfig(
        target_modules=["query", "value"],
        r=4,
        lora_alpha=8,
        rank_pattern={"layer.0.*query": 2},
        task_type="SEQ_CLS",
    )
    get_peft_model(bundle.model, config).save_pretrained(tmp_path)
    stack = "bert.encoder.layer.{}.attention.self.{}"
    ranks = {stack.format(at, name): 4 for at in (0, 1) for name in ("query", "value")}
    ranks[stack.format(0, "query")] = 2
    alpha = dict.fromkeys(ranks, 8)
    assert verify(tmp_path, RankPlan("tiny", ranks, alpha)).is_the_plan
    other = verify(tmp_path, RankPlan("tiny", {**ranks, stack.format(1, "key"): 4}, {
        **alpha, stack.format(1, "key"): 8}))  # fmt: skip
    assert other.missing == (stack.format(1, "key"),) and not other.unplanned
    assert "scale 1 of 4 modules wrongly, by up to 2×" in other.notes[-1]


def test_a_wrong_rank_a_wrong_scaling_and_wrong_modules_are_named(saved):
    plan, folder = saved
    first, second, *_ = (name for name, rank in plan.ranks.items() if rank)
    left_out = next(name for name, rank in plan.ranks.items() if not rank)
    ranks = {**plan.ranks, first: plan.ranks[first] + 1, left_out: 1}
    alpha = {**plan.alpha, first: plan.alpha[first] + 2, second: 99, left_out: 2}
    checked = verify(folder, RankPlan("tiny", ranks, alpha))
    assert checked.different == (first, second) and checked.missing == (left_out,)
    assert not checked.is_the_plan
    assert repr(left_out) in checked.sentence() and repr(first) in checked.sentence()
    fewer = RankPlan("tiny", {**plan.ranks, first: 0}, plan.alpha)
    assert verify(folder, fewer).unplanned == (first,)
    # JSON tells all of it.
    entry = json.loads(json.dumps(checked.to_dict()))
    found = {module["name"]: module for module in entry["modules"]}
    assert found[left_out]["found"] is None and found[left_out]["planned"]["rank"] == 1


def test_tensors_count_and_not_what_the_configuration_says(saved):
    plan, folder = saved
    path = folder / "adapter_model.safetensors"
    name = next(name for name, rank in plan.ranks.items() if rank == 3)
    tensors = load_file(path)
    key = f"base_model.model.{name}.lora_A.weight"
    tensors[key] = tensors[key][:2].contiguous()
    save_file(tensors, path)
    checked = verify(folder, plan)
    assert checked.different == (name,) and checked.found[name].rank == 2
    assert checked.found[name].scaling == plan.alpha[name] / 2


def _without_b(tensors, name):
    del tensors[f"base_model.model.{name}.lora_B.weight"]


def _with_a_narrow_b(tensors, name):
    key = f"base_model.model.{name}.lora_B.weight"
    tensors[key] = tensors[key][:, :1].contiguous()


@pytest.mark.parametrize("change", [_without_b, _with_a_narrow_b])
def test_an_a_without_its_b_is_not_the_plan(saved, change):
    plan, folder = saved
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name, rank in plan.ranks.items() if rank == 3)
    change(tensors, name)
    save_file(tensors, path)
    checked = verify(folder, plan)
    assert not checked.is_the_plan and checked.unusable == (name,)
    assert repr(name) in checked.sentence()


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules", "rank_pattern"])
def test_tensors_that_the_configuration_does_not_load_are_not_the_plan(saved, key):
    """PEFT passes over the tensors of modules that are no targets, and fails at other ranks."""
    plan, folder = saved
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    name = next(name for name, rank in plan.ranks.items() if rank == 3)
    config |= {
        "target_modules": {"target_modules": [m for m in config["target_modules"] if m != name]},
        "exclude_modules": {"exclude_modules": [name]},
        "rank_pattern": {"rank_pattern": {**config["rank_pattern"], name.replace(".", r"\."): 4}},
    }[key]
    path.write_text(json.dumps(config))
    checked = verify(folder, plan)
    assert not checked.is_the_plan and checked.unusable == (name,)


def test_a_matrix_without_dimensions_is_refused(saved):
    plan, folder = saved
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    key = next(key for key in tensors if "lora_A" in key)
    save_file({**tensors, key: torch.tensor(1.0)}, path)
    with pytest.raises(AdaRankError, match="has the shape"):
        verify(folder, plan)


def test_patterns_that_do_not_end_in_re_end(saved):
    """Python's `re`, in which PEFT matches them, would take years for one name."""
    plan, folder = saved
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "alpha_pattern": {r"([a-z]+[._0-9]*)+X": 4}}))
    (folder / "ranks.json").write_text(json.dumps(plan.to_dict()))
    command = [sys.executable, "-m", "adarank_core"]
    checks = ["verify", f"--adapter={folder}", f"--ranks={folder / 'ranks.json'}"]
    assert subprocess.run([*command, *checks], timeout=60, capture_output=True).returncode == 1
    exports = ["export", f"--ranks={folder / 'ranks.json'}", f"--adapter={folder}"]
    exports += [f"--output={folder.parent / 'out'}"]
    assert subprocess.run([*command, *exports], timeout=60, capture_output=True).returncode == 0


def test_rslora_scales_by_the_root_of_the_rank(bundle, tmp_path):
    names = [module.name for module in adaptable_modules(bundle.model)]
    config = LoraConfig(target_modules=names, r=4, lora_alpha=8, use_rslora=True)
    get_peft_model(bundle.model, config).save_pretrained(tmp_path)
    plan = RankPlan("tiny", dict.fromkeys(names, 4), dict.fromkeys(names, 8))
    assert len(verify(tmp_path, plan).different) == len(names)  # 8 / 4 and not 8 / 2
    rooted = RankPlan("tiny", plan.ranks, plan.alpha, {"alpha_policy": "rslora"})
    checked = verify(tmp_path, rooted)
    assert checked.is_the_plan and checked.found[names[0]].scaling == 8 / math.sqrt(4)
    # A server that knows r and lora_alpha alone scales by 8 / 4.
    wrongly = f"scale {len(names)} of {len(names)} modules wrongly, by up to 2×"
    assert wrongly in checked.notes[-1]


def test_only_what_is_the_plan_and_plain_is_read_right(bundle, tmp_path):
    names = [module.name for module in adaptable_modules(bundle.model)]
    config = LoraConfig(target_modules=names, r=4, lora_alpha=8)
    get_peft_model(bundle.model, config).save_pretrained(tmp_path)
    plan = RankPlan("tiny", dict.fromkeys(names, 4), dict.fromkeys(names, 8))
    assert verify(tmp_path, plan).notes == (
        "a server that reads only one r and lora_alpha reads it right",
    )
    other = RankPlan("tiny", {**plan.ranks, names[0]: 3}, plan.alpha)
    assert not verify(tmp_path, other).is_the_plan and not verify(tmp_path, other).notes


def test_a_portable_export_is_told(saved, tmp_path):
    plan, folder = saved
    portable(folder, tmp_path / "portable")
    checked = verify(tmp_path / "portable", plan)
    assert not checked.is_the_plan and "how a portable export looks" in checked.notes[0]
    assert not any("portable export looks" in note for note in verify(folder, plan).notes)


def test_the_adapter_of_a_run_is_found_in_its_folder(saved):
    plan, folder = saved
    assert verify(folder / "adapter_config.json", plan).is_the_plan
    assert verify(folder.parent, plan).is_the_plan
    with pytest.raises(AdaRankError, match="is a file; give the folder"):
        verify(folder / "adapter_model.safetensors", plan)


@pytest.mark.parametrize(
    "change",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["query"], "rank_pattern": {}},
        {"layers_to_transform": [1]},
        {"exclude_modules": ["query"]},
        {"rank_pattern": {"no.such": 4}},
        {"target_parameters": ["experts.down_proj"]},
    ],
    ids=str,
)
def test_a_configuration_that_names_no_modules_needs_its_weights(saved, change):
    plan, folder = saved
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(AdaRankError, match="save the adapter with its weights"):
        verify(folder, plan)


def test_dora_is_told(bundle, tmp_path):
    names = [module.name for module in adaptable_modules(bundle.model)]
    config = LoraConfig(target_modules=names, r=4, lora_alpha=8, use_dora=True)
    get_peft_model(bundle.model, config).save_pretrained(tmp_path)
    checked = verify(tmp_path, RankPlan("t", dict.fromkeys(names, 4), dict.fromkeys(names, 8)))
    assert checked.is_the_plan and any("DoRA" in note for note in checked.notes)
    assert not any("reads it right" in note for note in checked.notes)
    (tmp_path / "adapter_model.safetensors").unlink()
    without = verify(tmp_path, RankPlan("t", dict.fromkeys(names, 4), dict.fromkeys(names, 8)))
    assert without.is_the_plan and without.notes[1:] == checked.notes


def test_peft_moves_lora_of_some_mixtures_of_experts_elsewhere():
    """A dense layer beside sparse ones: PEFT takes its names for those of the fused experts."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    model = Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=24,
            hidden_size=16,
            intermediate_size=32,
            moe_intermediate_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=2,
            mlp_only_layers=[0],
        )
    )
    names = [module.name for module in adaptable_modules(model)]
    assert "model.layers.0.mlp.down_proj" in names
    plan = RankPlan("moe", dict.fromkeys(names, 2), dict.fromkeys(names, 4))
    with pytest.raises(AdaRankError, match=r"3 of \d+ planned modules have no LoRA.*experts"):
        check_built_adapter(plan, get_peft_model(model, plan.lora_config("CAUSAL_LM")))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"peft_type": "IA3"}, "'peft_type' of the adapter is 'IA3'"),
        ([], r"the adapter is \[\]; it must be a valid dictionary"),
        ({"peft_type": "LORA", "lora_alpha": "8"}, "'lora_alpha' of the adapter is '8'"),
        ({"peft_type": "LORA", "lora_alpha": None}, "'lora_alpha' of the adapter is None"),
    ],
)
def test_what_is_no_adapter_is_refused(config, said, saved):
    plan, folder = saved
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(AdaRankError, match=said):
        verify(folder, plan)


def test_damaged_weights_are_refused(saved, tmp_path):
    plan, folder = saved
    (folder / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(AdaRankError, match="cannot be read as safetensors"):
        verify(folder, plan)
    with pytest.raises(AdaRankError, match="cannot be read"):
        verify(tmp_path / "nowhere", plan)


def test_weights_that_are_a_pipe_are_not_waited_for(saved):
    plan, folder = saved
    (folder / "adapter_model.safetensors").unlink()
    os.mkfifo(folder / "adapter_model.safetensors")
    with pytest.raises(AdaRankError, match=r"safetensors' cannot be read; give a plain file"):
        verify(folder, plan)
