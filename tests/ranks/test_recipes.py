"""Lines to paste: PEFT's run as they are; those for other programs can be read by them."""

import ast
import shlex

import pytest
import yaml

from adarank_core import RankPlan, load_model
from adarank_core.ranks.export import export
from adarank_core.ranks.recipes import peft_lines, recipes
from adarank_core.ranks.verification import layers_of_model
from adarank_core.scoring.labels import UNNAMED_MODEL
from adarank_core.scoring.models import adaptable_modules


@pytest.mark.parametrize("kind", ["SEQ_CLS", "CAUSAL_LM"])
@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False", "ignore:.*checkpointing")
def test_the_lines_for_peft_run(kind, tiny_bert, tiny_gpt2, tmp_path, monkeypatch, capsys):
    folder = {"SEQ_CLS": tiny_bert, "CAUSAL_LM": tiny_gpt2}[kind]
    modules = adaptable_modules(load_model(folder).model)
    ranks = {module.name: at % 3 + 1 for at, module in enumerate(modules)}
    alpha = {name: 2 * rank for name, rank in ranks.items()}
    plan = RankPlan(folder, ranks, alpha, task_type=kind)
    sizes = {module.name: (module.in_features, module.out_features) for module in modules}
    export(plan, tmp_path / "starter-adapter", starter=sizes)
    monkeypatch.chdir(tmp_path / "starter-adapter")
    monkeypatch.syspath_prepend(".")
    monkeypatch.delitem(__import__("sys").modules, "lora_config", raising=False)
    for lines in (peft_lines(plan, "."), peft_lines(plan), recipes(plan, ".")[0].text):
        assert UNNAMED_MODEL in lines and folder not in lines
        names = {}
        exec(lines.replace(UNNAMED_MODEL, folder), names)
        found = layers_of_model(names["model"])
        assert {name: layer.rank for name, layer in found.items()} == ranks
        trained = [name for name, w in names["model"].named_parameters() if w.requires_grad]
        assert any("lora_B" in name for name in trained)
        assert any("classifier" in name for name in trained) == (kind == "SEQ_CLS")
    assert "trainable params" in capsys.readouterr().out


def test_the_other_lines_are_what_their_programs_read():
    ranks = {"0.q_proj": 24, "1.q_proj": 4}
    alpha = {name: 2 * rank for name, rank in ranks.items()}
    plan = RankPlan("org/model", ranks, alpha, task_type="CAUSAL_LM")
    by_program = {recipe.program: recipe for recipe in recipes(plan, "my 'own' folder")}
    for recipe in by_program.values():
        assert "embedded" not in recipe.text and "another kind of model" not in recipe.about
        if recipe.language == "python":
            ast.parse(recipe.text)
    axolotl = yaml.safe_load(by_program["axolotl"].text)
    assert axolotl["base_model"] == "org/model" and axolotl["adapter"] == "lora"
    assert axolotl["lora_model_dir"] == "my 'own' folder"
    factory = yaml.safe_load(by_program["LLaMA-Factory"].text)
    assert factory["adapter_name_or_path"] == "my 'own' folder"
    assert factory["create_new_adapter"] is False
    serve = shlex.split(by_program["vLLM"].text.split("\n", 1)[1])
    assert serve[:3] == ["vllm", "serve", "org/model"]
    assert serve[serve.index("--max-lora-rank") + 1] == "32"  # the next that it takes
    large = RankPlan("org/model", {"0.q_proj": 600}, {"0.q_proj": 1200})
    assert "above 512" in recipes(large)[-1].about
    assert "another kind of model" in recipes(large)[-1].about
