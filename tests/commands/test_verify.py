"""``verify``: its exit codes and what it prints."""

import json

import pytest

from adarank_core import RankPlan
from adarank_core.__main__ import main
from adarank_core.files import write_json
from adarank_core.ranks.export import export


@pytest.fixture
def files(tmp_path):
    """A plan's ranks.json, another plan's, and an exported adapter of the first."""
    plan = RankPlan("tiny", {"0.query": 4, "0.key": 2}, {"0.query": 8, "0.key": 4})
    other = RankPlan("tiny", {"0.query": 4, "0.value": 2}, {"0.query": 8, "0.value": 4})
    export(plan, tmp_path / "adapter")
    write_json(tmp_path / "other.json", other.to_dict())
    return str(tmp_path / "adapter"), str(tmp_path / "adapter/ranks.json"), str(tmp_path)


def test_the_plan_itself_ends_with_0_and_another_with_1(files, capsys):
    adapter, ranks, folder = files
    assert main(["verify", "--adapter", adapter, "--ranks", ranks]) == 0
    assert "every one of 2 planned modules" in " ".join(capsys.readouterr().out.split())
    assert main(["verify", "--adapter", adapter, "--ranks", f"{folder}/other.json"]) == 1
    out = capsys.readouterr().out
    said = " ".join(out.split())
    # Only what differs is in the table, and the verdict comes last.
    assert "0.query" not in said and "not as planned" in said
    assert "1 unplanned has ('0.key')" in out.splitlines()[-1]
    assert "1 of 2 planned modules has no LoRA ('0.value')" in said
    assert "1 unplanned has ('0.key')" in said


def test_a_runs_folder_stands_for_its_adapter(files, capsys):
    adapter, ranks, folder = files
    assert main(["verify", "--adapter", folder, "--ranks", ranks]) == 0
    assert capsys.readouterr().out.startswith(f"{adapter}: every one of 2")


def test_json_tells_every_module(files, capsys):
    adapter, _, folder = files
    arguments = ["verify", "--adapter", adapter, "--ranks", f"{folder}/other.json", "--json", "-"]
    assert main(arguments) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["is_the_plan"] is False
    assert told["missing"] == ["0.value"] and told["unplanned"] == ["0.key"]
    assert [module["name"] for module in told["modules"]] == ["0.query", "0.value", "0.key"]


def test_bad_input_ends_with_2(files, capsys):
    adapter, ranks, folder = files
    for broken in ([f"{folder}/none", ranks], [adapter, f"{folder}/none.json"]):
        assert main(["verify", "--adapter", broken[0], "--ranks", broken[1]]) == 2
        assert "cannot be read" in capsys.readouterr().err
