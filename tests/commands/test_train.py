"""The commands that train: what they keep, show and refuse."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core import AdaRankError, RankPlan, Verdict
from adarank_core.__main__ import main
from adarank_core.comparison.planner import same_rank
from adarank_core.comparison.request import ComparisonRequest
from adarank_core.files import read_json, write_json
from adarank_core.runs import store
from adarank_core.runs.jobs import run_folder, runs
from adarank_core.training import finetuning as finetuning_file
from adarank_core.training.settings import Settings

ROOT = Path(finetuning_file.__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("home")


def test_finetune_keeps_everything_in_its_folder(run, tiny_bert, tiny_file, tmp_path):
    write_json(tmp_path / "ranks.json", same_rank(tiny_bert, 4).to_dict())
    common = (
        "finetune",
        "--model",
        tiny_bert,
        "--task",
        tiny_file,
        "--steps",
        2,
        "--batch-size",
        4,
    )
    out = run(
        *common, "--ranks", tmp_path / "ranks.json", "--output", tmp_path / "a", "--json", "-"
    )
    result = json.loads(out)
    assert result == read_json(tmp_path / "a" / "result.json") and result["steps"] == 2
    told = run(*common, "--uniform-rank", 3)
    assert "test_accuracy" in told and "None" not in told
    assert not re.search(r"\.\d{6}", told)  # 4 significant digits
    (made,) = runs()
    assert made.state == "finished" and made.folder.name.endswith("-finetune")
    assert RankPlan.from_dict(made.config["plan"]) == same_rank(tiny_bert, 3)


def test_compare_ends_in_a_verdict_and_can_be_resumed(
    run, refusal, tiny_bert, tiny_file, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    common = ["compare", "--model", tiny_bert, "--task", tiny_file, "--steps", 2]
    common += ["--batch-size", 4, "--average-rank", 2, "--trials", 2, "--output", folder]
    verdict = Verdict.from_dict(json.loads(run(*common, "--seeds", "0,1", "--json", "-")))
    assert verdict == Verdict.from_dict(read_json(folder / "verdict.json"))
    assert list(verdict.arms) == ["uniform", "adarank"]
    assert "not empty" in refusal(*common)
    for changed in (["--steps", 3], ["--average-rank", 3], ["--max-length", 9]):
        assert "resume with the same values" in refusal(*common, "--resume", *changed)
    monkeypatch.setattr(finetuning_file, "train", lambda *a, **o: pytest.fail("trained again"))
    (folder / "events.jsonl").write_bytes(b"\x8f\x00\n\xe3" * 50)
    capsys.readouterr()
    main(["compare", *map(str, [*common[1:], "--seeds", "1,0", "--resume"])])
    out, said = capsys.readouterr()
    assert "the run was damaged: 'events.jsonl' ends in what is no event" in said
    assert "adarank's test loss" in out and "2 seeds" in out
    assert run_folder(folder).state == "finished"


@pytest.mark.parametrize("command", ["finetune", "compare"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "steps is 0"),
        (["--steps", "-1"], "steps is -1"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--max-length", "0"], "max_length is 0"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--learning-rate", "0"], "learning_rate is 0"),
    ],
    ids=str,
)
def test_training_that_cannot_be(refusal, tiny_bert, tiny_file, command, options, message):
    arguments = [command, "--model", tiny_bert, "--task", tiny_file, *options]
    assert message in refusal(*arguments, *(["--uniform-rank", 2] * (command == "finetune")))
    assert not runs()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --ranks or --uniform-rank"),
        (["--uniform-rank", "0"], "uniform rank is 0"),
        (["--uniform-rank", "-1"], "uniform rank is -1"),
        (["--uniform-rank", "33"], "may be 32 at most"),
        (["--uniform-rank", "2", "--seed", "-1"], "the seed is -1"),
        (["--uniform-rank", "2", "--seed", "9" * 30], "the seed is 999"),
        (["--uniform-rank", "2", "--ranks", "x.json"], "give either --ranks or --uniform-rank"),
    ],
    ids=str,
)
def test_a_fine_tune_that_cannot_be(refusal, tiny_bert, tiny_file, options, message):
    line = refusal("finetune", "--model", tiny_bert, "--task", tiny_file, *options)
    assert message in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arms", ""], "no arms"),
        (["--arms", "best"], "the arm 'best' is unknown"),
        (["--arms", "uniform,uniform"], "given twice"),
        (["--seeds", "0,0"], "given twice"),
        (["--seeds", "0,x"], "give whole numbers"),
        (["--seeds", ""], "give whole numbers"),
        (["--seeds", "-1"], "the seed is -1"),
        (["--seeds", "9" * 30], "the seed is 999"),
        (["--average-rank", "0"], "average_rank is 0"),
        (["--average-rank", "nan"], "average_rank is nan"),
        (["--average-rank", "33"], "above"),
        (["--trials", "1"], "trials is 1"),
        (["--learning-rates", ""], "learning_rates is ''; give numbers such as"),
        (["--learning-rates", "1e-3,x"], "learning_rates is '1e-3,x'"),
        (["--learning-rates", "1e-3,nan"], "learning_rates holds nan"),
        (["--learning-rates", "1e-3,0.001"], "learning_rates holds 0.001 twice"),
        (["--learning-rates", ",".join(map(str, range(1, 12)))], "11 learning rates"),
        (["--side-by-side", "0"], "side_by_side is 0"),
        (["--side-by-side", "x"], "side-by-side"),
        (["--metric", "zork"], "the metric is 'zork'"),
        (["--smallest-of-interest", "0"], "smallest_of_interest is 0.0"),
        (["--resume"], "--resume needs --output"),
    ],
    ids=str,
)
def test_a_comparison_that_cannot_be(refusal, tiny_bert, tiny_file, options, message):
    assert message in refusal("compare", "--model", tiny_bert, "--task", tiny_file, *options)


@pytest.mark.parametrize("content", ["[]", "{", '{"model": 3}', "null"])
def test_a_run_that_cannot_be_resumed(refusal, tiny_bert, tiny_file, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    arguments = ["--model", tiny_bert, "--task", tiny_file, "--resume", "--output", tmp_path]
    refusal("compare", *arguments)


def test_a_finished_comparison_goes_on_elsewhere_and_stays_finished_where_its_model_is_gone(
    run, refusal, tiny_bert, tiny_file, home, monkeypatch
):
    """As from the page: a moved folder, another working folder, the command of its config."""
    for name, source in (("model", tiny_bert), ("task", tiny_file)):
        shutil.copytree(source, home / "there" / name)
    monkeypatch.chdir(home / "there")
    words = ["compare", "--model", "model", "--task", "./task", "--steps", 2, "--batch-size", 4]
    words += ["--average-rank", 2, "--trials", 2, "--arms", "uniform,ramp-up"]
    run(*words, "--output", "run")
    folder = home / "runs" / "20261124-230929-000001-compare"
    shutil.move(home / "there" / "run", folder)
    shutil.rmtree(home / "there" / "task")
    monkeypatch.chdir(home)

    def go_on(seeds):
        request = ComparisonRequest.from_dict({**run_folder(folder).config, "seeds": seeds})
        return [*request.flags(), "--output", folder, "--resume"]

    run("compare", *go_on([0, 1]))
    config, verdict = run_folder(folder).config, read_json(folder / "verdict.json")
    assert config["seeds"] == [0, 1] and len(verdict["arms"]["uniform"]["runs"]) == 2
    shutil.rmtree(home / "there")
    said = refusal("compare", *go_on([0, 1, 2]))
    assert repr(str(home / "there" / "model")) in said and "no such folder" in said
    seen = run_folder(folder)
    assert (seen.state, seen.config) == ("finished", config) and seen.message in said
    assert read_json(folder / "verdict.json") == verdict
    store.write_zip(folder, home / "run.zip")
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    at.session_state["compare_run"] = folder.name
    at.session_state["runs_selected"] = [folder.name]
    for page in ("compare", "runs"):
        at.switch_page(f"pages/{page}.py").run()
        assert not at.exception
        assert "It could not go on" in at.error[0].value and "no such folder" in at.error[0].value


def test_a_fine_tune_can_be_resumed_until_it_has_finished(run, refusal, tiny_bert, tiny_file, home):
    arguments = ["finetune", "--model", tiny_bert, "--task", tiny_file, "--uniform-rank", 2]
    arguments += ["--output", home / "run", "--batch-size", 4]
    patches = stop_after_a_step(home / "run")
    assert run(*arguments, "--steps", 3, "--json", "-") == ""
    patches.undo()
    assert "is not empty" in refusal(*arguments, "--steps", 3)
    assert "steps is 4" in refusal(*arguments, "--steps", 4, "--resume")
    resumed = json.loads(run(*arguments, "--steps", 3, "--resume", "--json", "-"))
    events = (home / "run" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line).get("step") for line in events] == (
        [None, 1, 1, 2, 2, None, None, 2, 3, 3, None, None]
    )
    whole = json.loads(run(*arguments[:-4], "--batch-size", 4, "--steps", 3, "--json", "-"))
    times = ("train_seconds",)
    assert {k: v for k, v in whole.items() if k not in times} == {
        k: v for k, v in resumed.items() if k not in times
    }
    assert "has finished" in refusal(*arguments, "--steps", 3, "--resume")
    other = read_json(home / "run" / "result.json")
    write_json(home / "run" / "result.json", {**other, "seed": 7})
    again = json.loads(run(*arguments, "--steps", 3, "--resume", "--json", "-"))
    assert {**again, "train_seconds": 0} == {**whole, "train_seconds": 0}
    (told,) = (e for e in run_folder(home / "run").events if e["event"] == "notice")
    assert told["message"].startswith("the run is trained anew: 'result.json' is damaged")


def test_a_cancel_is_heard_before_the_model_is_loaded(run, tiny_bert, tiny_file, home, monkeypatch):
    from adarank_core.scoring import models

    (home / "run").mkdir()
    (home / "run" / "cancel").touch()
    monkeypatch.setattr(models, "load_model", lambda *a, **o: pytest.fail("loaded"))
    run(*command_of("finetune", tiny_bert, tiny_file, home / "run"), "--uniform-rank", 2)
    assert run_folder(home / "run").state == "cancelled"


def test_a_share_without_its_folder_is_refused(refusal, tiny_file):
    assert "--part is given to processes" in refusal("compare", "--task", tiny_file, "--part")


def test_an_arm_that_failed_is_named_after_the_verdict(
    run, tiny_bert, tiny_file, tmp_path, monkeypatch
):
    from adarank_core.scoring import baselines

    def inverse(scores):
        raise AdaRankError("the score of 'x' is 0, which has no inverse")

    monkeypatch.setattr(baselines, "inverse", inverse)
    arguments = ["--model", tiny_bert, "--task", tiny_file, "--steps", 2, "--trials", 2]
    out = run("compare", *arguments, "--arms", "uniform,inverse", "--output", tmp_path / "run")
    assert "inverse is not compared: seed 0: the score of 'x' is 0" in " ".join(out.split())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a cat", "x"), ("a dog", "y")] * 4, "gives? at least|leaves none"),
        ([("a cat", "x"), ("a dog", "y")] * 59, "118 rows .2 different., which"),
        ([(f"cat {at}", "only") for at in range(80)], "one class only, 'only'"),
    ],
    ids=["eight rows", "two texts", "one class"],
)
@pytest.mark.parametrize("command", [["finetune", "--uniform-rank", "2"], ["compare"]])
def test_data_that_cannot_be_trained_on(refusal, tiny_bert, tmp_path, rows, message, command):
    table = tmp_path / "rows.csv"
    table.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]))
    assert re.search(message, refusal(*command, "--model", tiny_bert, "--task", table))


def test_eight_rows_in_each_split_are_enough(run, tiny_bert, tiny_task, tmp_path):
    for split in ("train", "validation", "test"):
        rows = getattr(tiny_task, split)[:8]
        names = rows["label"].map({0: "poor", 1: "fine"})  # labels are words
        rows.assign(label=names).to_csv(tmp_path / f"{split}.csv", index=False)
    arguments = ["--model", tiny_bert, "--task", tmp_path, "--steps", 2, "--trials", 2]
    verdict = json.loads(run("compare", *arguments, "--average-rank", 2, "--json", "-"))
    assert len(verdict["arms"]) == 2
    told = " ".join(run("compare", *arguments, "--average-rank", 2, "--metric", "auc").split())
    assert "adarank's AUC" in told and "adarank's test loss" not in told
    assert "There is no verdict: with one seed nothing tells a difference from luck" in told


def test_a_loss_that_explodes_is_told(capsys, tiny_bert, tiny_file):
    arguments = ["--model", tiny_bert, "--task", tiny_file, "--uniform-rank", 2, "--steps", 2]
    assert main(["finetune", *map(str, arguments), "--learning-rate", "1e30"]) == 2
    assert "lower the learning rate" in capsys.readouterr().err.splitlines()[-1]
    (made,) = runs()
    assert made.state == "failed" and "lower the learning rate" in made.message


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--arms", "best"], ["--seeds", "x"], ["--learning-rates", "0"]],
    ids=str,
)
def test_what_can_be_told_at_once_is_told_without_torch(arguments):
    code = "import sys; from adarank_core.__main__ import main; "
    code += f"main(['compare', '--task', 'docstrings', *{arguments}]); "
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_grid_of_learning_rates_ends_in_one_for_each_arm(
    run, refusal, tiny_bert, tiny_file, home
):
    arguments = ["compare", "--model", tiny_bert, "--task", tiny_file, "--steps", 2]
    arguments += ["--arms", "uniform", "--batch-size", 4, "--output", home / "run"]
    grid = ["--learning-rates", "1e-3, 0.02"]
    verdict = json.loads(run(*arguments, *grid, "--json", "-"))
    assert verdict["arms"]["uniform"]["learning_rate"] in (1e-3, 0.02)
    assert verdict["arms"]["uniform"]["search_seconds"] > 0
    assert read_json(home / "run" / "config.json")["learning_rates"] == [1e-3, 0.02]
    assert "learning_rates is []" in refusal(*arguments, "--resume")
    assert json.loads(run(*arguments, *grid, "--resume", "--json", "-")) == verdict
    said = run(*arguments, *grid, "--resume")
    assert "uniform's best learning rate is at the end of those tried" in " ".join(said.split())
    chosen = verdict["arms"]["uniform"]["learning_rate"]
    assert re.search(rf"learning rate.*\n.*\n\s*uniform\s+{chosen:g} ", said)
    longer = ["--learning-rates", "1e-3,0.02,0.03"]
    assert len(json.loads(run(*arguments, *longer, "--resume", "--json", "-"))["arms"]) == 1
    assert read_json(home / "run" / "config.json")["learning_rates"] == [1e-3, 0.02, 0.03]


def test_a_run_of_an_older_version_is_gone_on_with(run, refusal, tiny_bert, tiny_file, home):
    arguments = ["compare", "--model", tiny_bert, "--task", tiny_file, "--steps", 1]
    arguments += ["--arms", "uniform", "--output", home / "run"]
    verdict = json.loads(run(*arguments, "--json", "-"))
    for name, newer in {
        "config.json": ("learning_rates", "side_by_side", "alpha"),
        "comparison.json": ("learning_rates", "search_seeds", "alpha"),
    }.items():
        path = home / "run" / name
        old = {key: value for key, value in read_json(path).items() if key not in newer}
        path.write_text(json.dumps(old))
    assert json.loads(run(*arguments, "--resume", "--json", "-")) == verdict
    assert "alpha is 'rslora'" in refusal(*arguments, "--resume", "--alpha", "rslora")


# The queue


@pytest.mark.parametrize("command", ["finetune", "compare"])
def test_a_run_waits_for_its_turn_and_says_so(
    tiny_bert, tiny_file, home, monkeypatch, capsys, command
):
    from adarank_core.commands import train as train_commands

    asked = []

    def wait_for_turn(recorder, waits):
        asked.append((recorder.folder, waits))
        recorder.record({"event": "queued", "place": 2})
        (recorder.folder / "cancel").touch()
        return not recorder.should_stop()

    monkeypatch.setattr(train_commands, "wait_for_turn", wait_for_turn)
    monkeypatch.setattr(finetuning_file, "train", lambda *a, **o: pytest.fail("trained"))
    arguments = [command, "--model", tiny_bert, "--task", tiny_file, "--output", str(home / "r")]
    arguments += ["--uniform-rank", "2"] if command == "finetune" else []
    assert main([*arguments, "--queue"]) == 0
    assert asked == [(home / "r", True)]
    assert "place 2 in the queue" in capsys.readouterr().err
    assert run_folder(home / "r").state == "cancelled"


@pytest.mark.parametrize("command", ["finetune", "compare"])
def test_a_run_waits_without_torch(home, command):
    """It would hold 500 MB, and there may be many."""
    words = [command, "--task", "docstrings", "--output", str(home / "r"), "--queue"]
    words += ["--uniform-rank", "2"] if command == "finetune" else []
    code = "import sys; from adarank_core.__main__ import main; "
    code += "from adarank_core.commands import train; "
    code += "train.wait_for_turn = lambda recorder, waits: sys.exit('torch' in sys.modules); "
    code += f"main({words})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["finetune", "compare"])
@pytest.mark.parametrize("place", ["runs/run", "elsewhere"])
def test_a_run_that_does_not_wait_is_counted_where_runs_are_kept(
    run, tiny_bert, tiny_file, home, monkeypatch, command, place
):
    from adarank_core.commands import train as train_commands

    asked = []
    monkeypatch.setattr(
        train_commands, "wait_for_turn", lambda recorder, waits: asked.append(waits)
    )
    monkeypatch.setattr(finetuning_file, "train", lambda *a, **o: None)
    arguments = [command, "--model", tiny_bert, "--task", tiny_file, "--output", home / place]
    run(*arguments, *(["--uniform-rank", "2"] if command == "finetune" else []))
    assert asked == ([False] if place == "runs/run" else [])


# One command for the first start and every restart


def command_of(name, tiny_bert, task, folder, steps=3):
    """Return a command that resumes in a folder, without what its arms or ranks are."""
    words = [name, "--model", tiny_bert, "--task", task, "--steps", steps, "--batch-size", 4]
    return [*words, "--output", folder, "--resume"]


@pytest.mark.parametrize("command", ["finetune", "compare"])
@pytest.mark.parametrize("holds", [None, [], ["lock"], ["log.txt", "command.json"]], ids=str)
def test_to_resume_where_nothing_has_begun_starts_the_run(
    run, tiny_bert, tiny_file, home, command, holds
):
    folder = home / "run"
    if holds is not None:
        folder.mkdir()
        for name in holds:
            (folder / name).touch()
    words = command_of(command, tiny_bert, tiny_file, folder, steps=1)
    words += ["--uniform-rank", 2] if command == "finetune" else ["--arms", "uniform"]
    run(*words)
    assert run_folder(folder).state == "finished"


@pytest.mark.parametrize("command", ["finetune", "compare"])
def test_to_resume_in_a_folder_of_other_things_is_refused(
    refusal, tiny_bert, tiny_file, tmp_path, command
):
    (tmp_path / "thesis.txt").write_text("mine")
    words = command_of(command, tiny_bert, tiny_file, tmp_path)
    words += ["--uniform-rank", 2] if command == "finetune" else []
    assert "there is no run to resume in" in refusal(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "thesis.txt"]


def stop_after_a_step(folder):
    """Have a run cancelled at its first step."""
    from adarank_core.commands import options

    real = options.Watch.record

    def record(watch, event):
        real(watch, event)
        if event["event"] == "step":
            (folder / "cancel").touch()

    patches = pytest.MonkeyPatch()
    patches.setattr(options.Watch, "record", record)
    return patches


@pytest.mark.parametrize("command", ["finetune", "compare"])
def test_a_run_goes_on_where_its_task_and_plan_are_gone(
    run, tiny_bert, tiny_file, home, monkeypatch, command
):
    given = home / "given"
    shutil.copytree(tiny_file, given / "tiny")
    write_json(given / "mine.json", same_rank(tiny_bert, 2).to_dict())
    monkeypatch.chdir(given)  # named from here, and gone on with from elsewhere
    words = command_of(command, tiny_bert, "tiny", "{}")
    words += ["--ranks", "mine.json"] if command == "finetune" else ["--arms", "mine.json,uniform"]

    def words_for(name):
        return [home / name if word == "{}" else word for word in words]

    run(*words_for("whole"))
    patches = stop_after_a_step(home / "broken")
    run(*words_for("broken"))
    patches.undo()
    assert run_folder(home / "broken").state == "cancelled"
    config = read_json(home / "broken" / "config.json")
    assert config["task"] == "tiny" and config.get("arms", ["mine.json"])[0] == "mine.json"
    shutil.rmtree(given)
    monkeypatch.chdir(home)
    run(*words_for("broken"))
    results = [sorted((home / name).rglob("result.json")) for name in ("whole", "broken")]
    assert len(results[0]) == (1 if command == "finetune" else 2)
    for ours, theirs in zip(*results, strict=True):
        assert ours.relative_to(home / "whole") == theirs.relative_to(home / "broken")
        ours, theirs = (
            {k: v for k, v in read_json(path).items() if not k.endswith("seconds")}
            for path in (ours, theirs)
        )
        assert ours == theirs


@pytest.mark.parametrize("command", ["finetune", "compare"])
def test_a_queued_run_has_copied_what_it_needs_before_its_turn(
    run, tiny_bert, tiny_file, home, monkeypatch, command
):
    from adarank_core.commands import train as train_commands

    given = home / "given"
    shutil.copytree(tiny_file, given / "tiny")
    write_json(given / "mine.json", same_rank(tiny_bert, 2).to_dict())

    def wait_for_turn(recorder, waits):
        shutil.rmtree(given)
        return True

    monkeypatch.setattr(train_commands, "wait_for_turn", wait_for_turn)
    words = command_of(command, tiny_bert, given / "tiny", home / "run", steps=1)
    plan = given / "mine.json"
    words += ["--ranks", plan] if command == "finetune" else ["--arms", plan]
    run(*words, "--queue")
    assert run_folder(home / "run").state == "finished" and not given.exists()


@pytest.mark.parametrize("command", ["finetune", "compare"])
def test_a_task_that_has_changed_since_is_refused(
    run, refusal, tiny_bert, tiny_file, home, command
):
    shutil.copytree(tiny_file, home / "tiny")
    words = command_of(command, tiny_bert, home / "tiny", home / "run")
    words += ["--uniform-rank", 2] if command == "finetune" else ["--arms", "uniform"]
    patches = stop_after_a_step(home / "run")
    run(*words)
    patches.undo()
    with (home / "tiny" / "test.csv").open("a") as file:
        file.write("a new cat,good\n")
    assert "has changed since the run in" in refusal(*words)


def test_a_rank_with_many_digits_goes_on_with_its_own_run(
    run, tiny_bert, tiny_file, home, monkeypatch
):
    from adarank_core.comparison.request import ComparisonRequest

    request = ComparisonRequest(
        tiny_bert,
        tiny_file,
        ("uniform",),
        7 / 3,
        settings=Settings(steps=1, batch_size=4, learning_rate=1 / 300),
        learning_rates=(1 / 3000, 1e-5),
    )
    output = ["--output", home / "run", "--resume"]
    run("compare", *request.flags(), *output)
    config = read_json(home / "run" / "config.json")
    assert config["average_rank"] == 7 / 3 and config["learning_rates"][0] == 1 / 3000
    monkeypatch.setattr(finetuning_file, "train", lambda *a, **o: pytest.fail("trained again"))
    run("compare", *ComparisonRequest.from_dict(config).flags(), *output)


@pytest.mark.parametrize("command", ["finetune", "compare"])
@pytest.mark.parametrize("most", [300, 4_000, 9_000], ids=str)  # bytes of a file
def test_where_no_more_can_be_written_it_is_one_sentence_and_not_exit_0(
    tiny_bert, tiny_file, home, command, most
):
    """As on a full disk: files may not grow beyond some bytes, as a quota has it."""
    words = [*command_of(command, tiny_bert, tiny_file, home / "run"), "--batch-size", 4]
    words += ["--uniform-rank", 2] if command == "finetune" else ["--arms", "uniform"]
    code = "import resource, sys; from adarank_core.__main__ import main; "
    code += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most})); "
    code += "sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    said = done.stderr.strip().split("\n")
    assert done.returncode == 2, done.stderr
    assert said[-1].startswith("error: ") and "File too large" in said[-1]
    assert "Traceback" not in done.stderr and "all that the run made" not in done.stderr
