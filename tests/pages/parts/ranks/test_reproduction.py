"""What is shown to be pasted gives the plan on screen, in a shell and in Python."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from adarank_core import RankPlan, Scores, allocate, generic_texts, load_model, score
from adarank_core.files import read_json, write_json
from pages.parts.ranks.reproduction import python_lines, shell_lines
from pages.parts.shared.state import Shown

ROOT = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.usefixtures("home")


def run_shell(run, lines):
    """Run the lines as a shell would, but in this process."""
    for line in lines.splitlines():
        python, flag, module, *arguments = shlex.split(line)
        assert (python, flag, module) == ("python", "-m", "adarank_core")
        run(*arguments)


def asked(names):
    """Return wishes of every kind, of modules whose names are also expressions."""
    return [
        {"group_by": "none", "average_rank": 3, "budget_by": "parameters", "min_rank": 1}
        | {"max_rank": None, "temperature": 1.0, "alpha_policy": "proportional"},
        {"average_rank": 4, "budget_by": "rank", "group_by": "family", "min_rank": 0}
        | {"max_rank": 9, "temperature": 0.7, "alpha_policy": "rslora"},
        {"parameters": 2000, "pinned": {names[0]: 3, names[4]: 0}, "excluded": names[1:3]},
        {"adaptive": True, "alpha_policy": "constant"},
    ]


@pytest.mark.parametrize("which", range(4))
def test_both_give_the_plan_on_screen(which, run, tiny_bert, tmp_path, monkeypatch):
    scores = score(load_model(tiny_bert), generic_texts(), trials=4, seed=3)
    shown = Shown(scores, "computed now", "generic")
    options = asked([module.name for module in scores.modules])[which]
    plan = allocate(scores, **options)
    monkeypatch.chdir(tmp_path)
    run_shell(run, shell_lines(shown, options))
    made = RankPlan.from_dict(read_json(tmp_path / "ranks.json"))
    assert (made.ranks, made.alpha) == (plan.ranks, plan.alpha)
    assert (tmp_path / "export" / "adapter_model.safetensors").is_file()
    names = {}
    exec(python_lines(shown, options), names)
    assert (names["plan"].ranks, names["plan"].alpha) == (plan.ranks, plan.alpha)
    assert names["config"].to_dict() == plan.lora_config().to_dict()


def test_lines_for_a_file_begin_with_it(run, made_up, tmp_path, monkeypatch):
    scores = made_up()
    shown = Shown(scores, "your file", "task")
    options = {"average_rank": 8, "budget_by": "parameters"}
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "scores.json", scores.to_dict())
    assert " score " not in shell_lines(shown, options)
    run_shell(run, shell_lines(shown, options))
    plan = allocate(Scores.from_dict(json.loads(json.dumps(scores.to_dict()))), **options)
    assert RankPlan.from_dict(read_json(tmp_path / "ranks.json")) == plan
    names = {}
    exec(python_lines(shown, options), names)
    assert names["plan"] == plan


def test_a_shell_takes_the_lines_as_they_are(made_up, tmp_path):
    """Once by a real shell: quotes, dollars and the like in a name do no harm."""
    first = made_up().modules[0]
    scores = Scores.from_dict(
        {**made_up().to_dict(), "modules": [{**vars(first), "name": "a $(b) 'c\" `d`.0.*"}]}
    )
    write_json(tmp_path / "scores.json", scores.to_dict())
    options = {"average_rank": 8, "pinned": {scores.modules[0].name: 8}}
    line = shell_lines(Shown(scores, "your file", "task"), options).splitlines()[0]
    line = line.replace("python", shlex.quote(sys.executable), 1)
    place = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    subprocess.run(["sh", "-c", line], **place, check=True, capture_output=True)
    assert read_json(tmp_path / "ranks.json")["ranks"] == {scores.modules[0].name: 8}
