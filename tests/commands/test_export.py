"""``export``: the files that it writes, and adapters made portable."""

import json
from pathlib import Path

import pytest

from adarank_core import RankPlan, load_model
from adarank_core.files import read_json, write_json

pytestmark = pytest.mark.usefixtures("home")


def test_export_writes_the_plan_in_every_form(run, files, tmp_path):
    out = run("export", "--ranks", files / "ranks.json", "--output", tmp_path, "--json", "-")
    written = json.loads(out)["files"]
    names = ["ranks.json", "adapter_config.json", "lora_config.py", "ranks.csv", "report.html"]
    names.append("README.md")
    assert [Path(file).name for file in written] == names
    assert run("export", "--ranks", files / "ranks.json", "--output", tmp_path).split() == written
    assert "family" not in (tmp_path / "ranks.csv").read_text()
    both = ("--ranks", files / "ranks.json", "--scores", files / "scores.json")
    run("export", *both, "--output", tmp_path)
    assert "family" in (tmp_path / "ranks.csv").read_text()


def test_export_reads_an_adapter_and_makes_it_portable(
    run, refusal, files, tiny_bert, tiny_gpt2, tmp_path
):
    from peft import LoraConfig, get_peft_model

    patterns = {"rank_pattern": {"key": 2, "value": 5}, "r": 3, "lora_alpha": 6}
    config = LoraConfig(target_modules=["key", "value"], **patterns)
    get_peft_model(load_model(tiny_bert).model, config).save_pretrained(tmp_path / "adapter")
    ranks = ("--ranks", tmp_path / "adapter" / "adapter_config.json", "--output", tmp_path / "out")
    options = ("--model", tiny_bert, "--adapter", tmp_path, "--json", "-")  # as a run's folder
    result = json.loads(run("export", *ranks, *options))
    plan = RankPlan.from_dict(read_json(tmp_path / "out" / "ranks.json"))
    assert sorted(plan.ranks.values()) == [2, 2, 5, 5] and all(".layer." in n for n in plan.ranks)
    assert all(Path(file).is_file() for file in result["files"]) and len(result["files"]) == 8
    sizes = [result["compact_bytes"], result["portable_bytes"]]
    weights = "adapter_model.safetensors"
    folders = (tmp_path / "adapter", tmp_path / "out" / "portable")
    assert sizes == [(folder / weights).stat().st_size for folder in folders]
    assert sizes[0] < sizes[1]
    wrong = ("--ranks", files / "ranks.json", "--output", tmp_path, "--adapter", tmp_path)
    assert "has no adapter_model.safetensors" in refusal("export", *wrong)
    others = ("--ranks", files / "ranks.json", "--output", tmp_path, "--model", tiny_gpt2)
    assert "use ranks made for this model" in refusal("export", *others)


@pytest.mark.parametrize("names", [["query"], ["attn.query"], ["0.query", "value"]], ids=str)
def test_export_of_an_adapter_that_holds_endings_needs_the_model(run, refusal, names, tmp_path):
    adapter = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": names}
    write_json(tmp_path / "adapter_config.json", adapter)
    given = ("--ranks", tmp_path / "adapter_config.json", "--output", tmp_path / "out")
    assert "give the model (--model)" in refusal("export", *given)
    assert not (tmp_path / "out" / "ranks.json").exists()
    full = {**adapter, "target_modules": ["0.query", "pooler.dense"]}
    write_json(tmp_path / "adapter_config.json", full)
    assert run("export", *given)


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys:RuntimeWarning")
def test_export_holds_what_peft_builds_against_the_plan(run, refusal, files, tiny_bert, tmp_path):
    """A dense layer beside sparse ones: PEFT takes its names for those of the fused experts."""
    import torch
    from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    sizes = {"vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    torch.manual_seed(0)
    config = Qwen3MoeConfig(**sizes, **experts, mlp_only_layers=[0], pad_token_id=0)
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "moe")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "moe")
    moe, names = str(tmp_path / "moe"), ["model.layers.0.mlp.down_proj"]
    plan = RankPlan(moe, dict.fromkeys(names, 2), dict.fromkeys(names, 4))
    write_json(tmp_path / "ranks.json", plan.to_dict())
    given = ("--ranks", tmp_path / "ranks.json", "--output", tmp_path / "out")
    said = refusal("export", *given, "--model", moe)
    assert "PEFT does not build this plan for this model" in said and "experts.down_proj" in said
    assert not (tmp_path / "out").exists()
    fitting = ("--ranks", files / "ranks.json", "--output", tmp_path / "out")
    assert run("export", *fitting, "--model", tiny_bert)


def test_a_starter_is_written_with_sizes_of_the_scores_or_of_the_model(
    run, refusal, files, tiny_bert, capsys, tmp_path
):
    from safetensors.torch import load_file

    ranks = ("--ranks", files / "ranks.json", "--starter")
    paths = run("export", *ranks, "--output", tmp_path / "model").split()
    assert [Path(path).name for path in paths[-2:]] == ["README.md", "adapter_model.safetensors"]
    assert "untrained" in (tmp_path / "model" / "README.md").read_text()
    run("export", *ranks, "--scores", files / "scores.json", "--output", tmp_path / "scores")
    both = [load_file(tmp_path / one / "adapter_model.safetensors") for one in ("model", "scores")]
    plan = RankPlan.from_dict(read_json(files / "ranks.json"))
    assert all(both[0][key].equal(both[1][key]) for key in both[0])
    assert len(both[0]) == len(both[1]) == 2 * len(plan.ranks)
    verified = ("verify", "--adapter", tmp_path / "scores", "--ranks", files / "ranks.json")
    assert "every one of" in run(*verified)
    trained = ("--adapter", tmp_path / "model", "--output", tmp_path / "both")
    assert "give one of them" in refusal("export", *ranks, *trained)
    # The model is a folder of this machine, which means nothing on another.
    for name in ("adapter_config.json", "lora_config.py", "report.html", "README.md"):
        assert tiny_bert not in (tmp_path / "model" / name).read_text()


def test_a_starter_says_where_its_sizes_are_from(files, tiny_bert, capsys, tmp_path):
    from adarank_core.__main__ import main

    ranks = ["export", "--ranks", str(files / "ranks.json"), "--starter", "--output"]
    assert main([*ranks, str(tmp_path / "model")]) == 0
    assert f"of the model {tiny_bert!r}" in capsys.readouterr().err
    assert main([*ranks, str(tmp_path / "scores"), "--scores", str(files / "scores.json")]) == 0
    assert "sizes of the scores" in capsys.readouterr().err
