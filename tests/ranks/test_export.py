"""Plans on real PEFT: what is given is what LoRA then has."""

import copy
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model

from adarank_core import AdaRankError, RankPlan, Scores, allocate, load_model, read_plan, score
from adarank_core.files import read_json, write_json
from adarank_core.ranks.export import adapter_config, export, snippet
from adarank_core.ranks.plans import ALPHA_POLICIES, alphas
from adarank_core.scoring.models import adaptable_modules
from tests.ranks import extremes
from tests.scoring.test_partial_forward import ARCHITECTURES, batch_of, louder


@pytest.fixture(scope="module")
def plan(made_up):
    """Very unlike ranks, among them ranks of 0."""
    plan = allocate(made_up(spread=1.5), 8, budget_by="parameters", min_rank=0)
    assert min(plan.ranks.values()) == 0 and len(set(plan.ranks.values())) > 10
    return plan


@pytest.fixture(scope="module")
def adapted(plan):
    model = get_peft_model(load_model("embedded").model, plan.lora_config())
    draw = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide a wrong module
            weight.data.normal_(0, 0.1, generator=draw)
    return model.eval()


@pytest.fixture
def batch(embedded):
    return embedded.tokenizer(["What is a rank?", "No."], padding=True, return_tensors="pt")


def test_every_module_has_its_rank_and_the_same_scaling(plan, adapted):
    found = {
        name.removeprefix("base_model.model."): module
        for name, module in adapted.named_modules()
        if hasattr(module, "lora_A")
    }
    assert set(found) == {name for name, rank in plan.ranks.items() if rank}
    for name, module in found.items():
        rank = plan.ranks[name]
        assert module.r["default"] == rank and module.scaling["default"] == 2.0
        assert module.lora_A["default"].weight.shape[0] == rank
        assert module.lora_B["default"].weight.shape[1] == rank


def test_lora_has_the_parameters_that_the_plan_says(plan, adapted):
    counted = sum(w.numel() for name, w in adapted.named_parameters() if ".lora_" in name)
    assert counted == plan.budget["lora_parameters"] == 331_776


def test_saving_and_loading_gives_equal_logits(adapted, batch, tmp_path):
    adapted.save_pretrained(tmp_path)
    torch.manual_seed(1)
    plain = load_model("embedded").model
    plain.classifier = copy.deepcopy(adapted.base_model.model.classifier.modules_to_save.default)
    loaded = PeftModel.from_pretrained(plain, tmp_path).eval()
    with torch.inference_mode():
        expected, found = adapted(**batch).logits, loaded(**batch).logits
        with adapted.disable_adapter():
            clean = adapted(**batch).logits
    assert torch.equal(found, expected) and not torch.allclose(clean, expected, atol=1e-3)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gets_its_ranks_and_comes_back_from_disk(name, tmp_path):
    model = louder(*ARCHITECTURES[name][:2])
    names = [module.name for module in adaptable_modules(model)]
    ranks = {module: (at + 1) % 5 for at, module in enumerate(names)}  # every fifth has none
    plan = RankPlan(name, ranks, alphas(ranks))
    kind = "SEQ_CLS" if "Classif" in type(model).__name__ else "CAUSAL_LM"
    plain = copy.deepcopy(model)
    adapted = get_peft_model(model, plan.lora_config(kind)).eval()
    draw = torch.Generator().manual_seed(0)
    for key, weight in adapted.named_parameters():
        if "lora_B" in key:
            weight.data.normal_(0, 0.3, generator=draw)
    inner = adapted.base_model.model
    for module, rank in ranks.items():
        found = inner.get_submodule(module)
        assert hasattr(found, "lora_A") == (rank > 0)
        if rank:
            assert found.r["default"] == rank and found.scaling["default"] == 2
            assert found.lora_A["default"].weight.shape[0] == rank
        else:
            assert torch.equal(found.weight, plain.get_submodule(module).weight)
    others = [key for key, module in inner.named_modules() if hasattr(module, "lora_A")]
    assert set(others) == {module for module, rank in ranks.items() if rank}
    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(copy.deepcopy(plain), tmp_path).eval()
    batch = batch_of([7, 5, 3])
    with torch.inference_mode():
        expected = adapted(**batch).logits
        assert torch.equal(loaded(**batch).logits, expected)
        assert not torch.allclose(plain.eval()(**batch).logits, expected, atol=1e-3)


@pytest.mark.parametrize("policy", ALPHA_POLICIES)
def test_the_alpha_policy_reaches_peft_through_the_file(policy, made_up, embedded):
    plan = allocate(made_up(), 8, alpha_policy=policy, min_rank=0)
    plan = RankPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    adapted = get_peft_model(copy.deepcopy(embedded.model), plan.lora_config())
    names = {}
    exec(snippet(plan), names)
    assert names["config"].to_dict() == plan.lora_config().to_dict()
    found = {
        name.removeprefix("base_model.model."): module.scaling["default"]
        for name, module in adapted.named_modules()
        if hasattr(module, "lora_A")
    }
    assert found == pytest.approx(plan.scaling)
    spread = max(found.values()) / min(found.values())
    ranks = [rank for rank in plan.ranks.values() if rank]
    wanted = {"proportional": 0, "constant": 1, "rslora": 0.5}[policy]
    assert spread == pytest.approx((max(ranks) / min(ranks)) ** wanted)


def test_the_snippet_builds_the_same_config(plan):
    names = {}
    exec(snippet(plan, "CAUSAL_LM"), names)
    assert names["config"].to_dict() == plan.lora_config("CAUSAL_LM").to_dict()


def test_names_cannot_break_out_of_the_snippet():
    name = "a'\"\n\\); raise SystemExit #"
    plan = RankPlan(name, {name: 3, "a.b": 4}, {name: 6, "a.b": 2.5})
    names = {}
    exec(snippet(plan), names)
    assert names["config"].to_dict() == plan.lora_config().to_dict()
    assert names["config"].target_modules == {name, "a.b"}


def test_a_pattern_fits_its_own_module_only():
    """PEFT takes patterns as regular expressions that may start anywhere after a dot."""

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.xq = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)

    model = torch.nn.Module()
    model.layer = torch.nn.ModuleList([Block() for _ in range(12)])
    ranks = {f"layer.{at}.{name}": at % 5 + 1 for at in range(12) for name in ("q", "xq")}
    ranks |= {f"layer.{at}.xq": 7 for at in range(12)}
    plan = RankPlan("tiny", ranks, {name: 2 * rank for name, rank in ranks.items()})
    arguments = plan.lora_config().to_dict()
    config = LoraConfig(**{**arguments, "task_type": None})
    adapted = get_peft_model(model, config)
    for name, rank in ranks.items():
        module = adapted.base_model.model.get_submodule(name)
        assert module.r["default"] == rank and module.scaling["default"] == 2


def test_files_hold_the_plan_and_peft_reads_them(plan, tmp_path):
    files = export(plan, tmp_path / "new" / "folder")
    names = ["ranks.json", "adapter_config.json", "lora_config.py", "ranks.csv", "report.html"]
    assert [file.name for file in files] == [*names, "README.md"]
    assert RankPlan.from_dict(read_json(files[0])) == plan
    stored = LoraConfig.from_pretrained(files[1].parent)
    assert stored.rank_pattern == plan.lora_config().rank_pattern
    assert stored.base_model_name_or_path == "sentence-transformers/all-MiniLM-L6-v2"
    assert files[1].read_text() == adapter_config(plan)
    assert files[2].read_text() == snippet(plan)
    assert export(plan, tmp_path / "new" / "folder") == files


def test_what_cannot_be_exported_is_told(plan, tmp_path):
    with pytest.raises(AdaRankError, match="ranks are all 0 or missing"):
        RankPlan("tiny", {"a": 0}, {"a": 0}).lora_config()
    with pytest.raises(AdaRankError, match="task_type is 'X'"):
        plan.lora_config("X")
    (tmp_path / "file").touch()
    with pytest.raises(AdaRankError, match="cannot be written"):
        export(plan, tmp_path / "file")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "data.json", {"rank": 8})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "data.json", {"rank": float("nan")})
    assert json.loads((tmp_path / "data.json").read_text()) == {"rank": 8}
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"]


def test_a_trained_adapter_is_not_written_over(plan, adapted, tmp_path):
    adapted.save_pretrained(tmp_path)
    before = (tmp_path / "adapter_config.json").read_bytes()
    with pytest.raises(AdaRankError, match="holds an adapter's weights"):
        export(plan, tmp_path)
    assert (tmp_path / "adapter_config.json").read_bytes() == before


def test_a_causal_models_plan_is_exported_for_a_causal_model(tiny_gpt2, tmp_path):
    from peft import LoraConfig

    bundle = load_model(tiny_gpt2)
    scores = score(bundle, ["the cat sat"], trials=2)
    plan = allocate(Scores.from_dict(json.loads(json.dumps(scores.to_dict()))), average_rank=2)
    assert scores.task_type == plan.task_type == plan.lora_config().task_type == "CAUSAL_LM"
    export(RankPlan.from_dict(json.loads(json.dumps(plan.to_dict()))), tmp_path)
    assert LoraConfig.from_pretrained(tmp_path).task_type == "CAUSAL_LM"
    assert "task_type='CAUSAL_LM'" in (tmp_path / "lora_config.py").read_text()
    assert read_plan(tmp_path / "adapter_config.json").task_type == "CAUSAL_LM"
    # The same model under a classification head is a classifier's.
    classifier = load_model(tiny_gpt2, head="classification")
    assert score(classifier, ["the cat sat"], trials=2).task_type == "SEQ_CLS"


@pytest.mark.parametrize("task_type", ["CAUSAL", 3, []])
def test_an_unknown_task_type_in_a_file_is_refused(task_type, made_up):
    plan = allocate(made_up(), average_rank=2).to_dict()
    with pytest.raises(AdaRankError, match="task_type"):
        RankPlan.from_dict({**plan, "task_type": task_type})
    with pytest.raises(AdaRankError, match="task_type"):
        Scores.from_dict({**made_up().to_dict(), "task_type": task_type})


def test_the_adapter_config_is_what_peft_would_save(plan, tmp_path):
    config = plan.lora_config("CAUSAL_LM")
    config.base_model_name_or_path = "sentence-transformers/all-MiniLM-L6-v2"
    config.inference_mode = True
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    written = json.loads(adapter_config(plan, "CAUSAL_LM"))
    assert written.pop("target_modules") == sorted(saved.pop("target_modules"))  # PEFT's is a set
    assert written == saved


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**6), min_size=3),
    st.dictionaries(st.sampled_from("abc"), st.floats(0, allow_infinity=False), min_size=3),
    extremes.values,
)
def test_any_plan_can_be_exported(tmp_path_factory, ranks, alpha, extra):
    plan = extremes.result_or_refusal(RankPlan, "tiny", ranks, alpha, {"units": extra})
    if plan is None:
        return
    files = export(plan, tmp_path_factory.getbasetemp() / "any")
    assert read_plan(files[0]) == plan
    names = {}
    exec(snippet(plan), names)
    assert names["config"].rank_pattern == json.loads(adapter_config(plan))["rank_pattern"]
    assert read_plan(files[1]).ranks == {name: rank for name, rank in ranks.items() if rank}


def test_files_of_an_export_replace_links_and_follow_none(plan, tmp_path):
    mine, folder = tmp_path / "mine", tmp_path / "export"
    names = [file.name for file in export(plan, folder)]
    mine.write_text("mine")
    for name in names:
        (folder / name).unlink()
        (folder / name).symlink_to(mine)
    files = export(plan, folder)
    assert mine.read_text() == "mine" and not any(file.is_symlink() for file in files)
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
