"""Runs that are broken off go on to the very numbers that they would have had."""

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from adarank_core import AdaRankError, compare, finetune
from adarank_core.__main__ import main
from adarank_core.comparison.planner import same_rank
from adarank_core.files import read_json
from adarank_core.training import checkpoints
from adarank_core.training.finetuning import Settings

SETTINGS = Settings(steps=7, batch_size=4, evaluations=3)
ROOT = Path(checkpoints.__file__).resolve().parents[2]
TIMES = ("seconds", "train_seconds", "allocation_seconds", "examples_per_second", "memory_mb")


def plain(data):
    """Leave out what no two runs have in common: their times."""
    return {key: value for key, value in data.items() if key not in TIMES}


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)


def trained(tiny_bert, tiny_task, method="lora", until=None, **options):
    """Fine-tune, and stop after a step where one is given: the result and the events."""
    plan = None if method in ("head-only", "full") else same_rank(tiny_bert, 3)
    events = []
    options = {"settings": SETTINGS, "seed": 1, **options}
    result = finetune(
        tiny_bert,
        tiny_task,
        plan,
        method=method,
        on_event=events.append,
        should_stop=lambda: events[-1:] and events[-1].get("step") == until,
        **options,
    )
    return result, events


@pytest.mark.parametrize("method", ["lora", "eva", "head-only", "full", "adalora"])
def test_a_stopped_run_goes_on_to_the_same_numbers(tiny_bert, tiny_task, tmp_path, method):
    whole, events = trained(tiny_bert, tiny_task, method)
    kept = tmp_path / "checkpoints"
    # Asked after the step and before its log: events[-1] is that of the step before.
    assert trained(tiny_bert, tiny_task, method, until=3, output=tmp_path)[0] is None
    names = [path.name for path in kept.glob("*")]
    assert names == ([] if method == "adalora" else ["checkpoint-4"])
    again, later = trained(tiny_bert, tiny_task, method, output=tmp_path)
    assert plain(again) == plain(whole)
    if method != "adalora":
        assert later.pop(0) == {"event": "resumed", "step": 4}
        events = [event for event in events if event["step"] > 4]
    assert list(map(plain, later)) == list(map(plain, events))


def test_a_run_that_is_stopped_where_it_evaluates_goes_on_to_the_same_numbers(
    tiny_bert, tiny_task, tmp_path
):
    """Evaluating draws a random number, so that leaving it out would change the dropout."""
    whole, _ = trained(tiny_bert, tiny_task)
    assert trained(tiny_bert, tiny_task, until=2, output=tmp_path)[1][-1]["event"] == "evaluation"
    again, _ = trained(tiny_bert, tiny_task, output=tmp_path)
    assert plain(again) == plain(whole)


@pytest.mark.usefixtures("every_step")
def test_checkpoints_change_nothing_and_do_not_pile_up(tiny_bert, tiny_task, tmp_path):
    whole, _ = trained(tiny_bert, tiny_task)
    result, _ = trained(tiny_bert, tiny_task, output=tmp_path)
    assert plain(result) == plain(whole)  # writing them changes nothing
    kept = tmp_path / "checkpoints"
    assert sorted(path.name for path in kept.iterdir()) == ["checkpoint-5", "checkpoint-6"]
    assert (kept / "checkpoint-6" / "adapter_model.safetensors").exists()
    for file in ("optimizer.pt", "scheduler.pt"):
        torch.load(kept / "checkpoint-6" / file, weights_only=True)


@pytest.mark.usefixtures("every_step")
def test_a_checkpoint_that_was_cut_off_is_not_gone_on_from(tiny_bert, tiny_task, tmp_path):
    whole, _ = trained(tiny_bert, tiny_task)
    trained(tiny_bert, tiny_task, output=tmp_path)
    kept = tmp_path / "checkpoints"
    (kept / "checkpoint-6" / checkpoints.WHOLE).unlink()
    (kept / "checkpoint-6" / "adapter_model.safetensors").write_bytes(b"half")
    again, events = trained(tiny_bert, tiny_task, output=tmp_path)
    assert "checkpoint-6 is passed over" in events.pop(0)["message"]
    assert events[0] == {"event": "resumed", "step": 5}
    assert plain(again) == plain(whole)


@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize(
    "other",
    [{"seed": 2}, {"settings": Settings(steps=7, batch_size=4, evaluations=2)}, {"method": "eva"}],
    ids=str,
)
def test_a_checkpoint_of_another_run_is_not_gone_on_from(tiny_bert, tiny_task, tmp_path, other):
    trained(tiny_bert, tiny_task, output=tmp_path)
    _, events = trained(tiny_bert, tiny_task, output=tmp_path, **other)
    told = [event for event in events if event["event"] == "notice"]
    assert len(told) == 2 and "asked for something else" in told[0]["message"]
    assert events[2]["event"] == "step" and events[2]["step"] == 1


ASKED = {"seed": 0, "settings": {"steps": 20}}


def checkpoint(folder, step, asked=ASKED, state=None, seconds=1.5):
    """Write what stands for a whole checkpoint."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "optimizer.pt").write_bytes(b"numbers")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": state or step}))
    mark = {"asked": asked, "seconds": seconds, "files": checkpoints._digests(path)}
    (path / checkpoints.WHOLE).write_text(json.dumps(mark))
    return path


def test_the_newest_checkpoint_is_the_highest_step_and_the_others_go(tmp_path):
    for step in (9, 10):
        checkpoint(tmp_path, step, seconds=step / 4)
    assert checkpoints.newest(tmp_path, ASKED) == (tmp_path / "checkpoint-10", 10, 2.5)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]
    assert checkpoints.newest(tmp_path, {**ASKED, "seed": 3}) is None
    assert not list(tmp_path.iterdir())


def marked(change):
    def damage(path):
        mark = json.loads((path / checkpoints.WHOLE).read_text())
        (path / checkpoints.WHOLE).write_text(json.dumps({**mark, **change}))

    return damage


def pipe_for_mark(path):
    (path / checkpoints.WHOLE).unlink()
    os.mkfifo(path / checkpoints.WHOLE)


def as_step(step):
    return lambda path: path.rename(path.with_name(f"checkpoint-{step}"))


DAMAGES = {
    "no mark": (lambda path: (path / checkpoints.WHOLE).unlink(), "cannot be read"),
    "cut mark": (lambda path: (path / checkpoints.WHOLE).write_text('{"asked'), "not valid JSON"),
    "a list": (lambda path: (path / checkpoints.WHOLE).write_text("[]"), "'whole.json'"),
    "pipe for a mark": (pipe_for_mark, "a named pipe"),
    "another run": (marked({"asked": {**ASKED, "seed": 1}}), "something else"),
    "no seconds": (marked({"seconds": None}), "'whole.json'"),
    "seconds a word": (marked({"seconds": "1"}), "'whole.json'"),
    "no digests": (marked({"files": None}), "not as it was written"),
    "cut file": (lambda path: (path / "optimizer.pt").write_bytes(b"numb"), "'optimizer.pt'"),
    "missing file": (lambda path: (path / "optimizer.pt").unlink(), "'optimizer.pt'"),
    "file more": (lambda path: (path / "optimizer.bin").write_bytes(b"x"), "'optimizer.bin'"),
    "pipe more": (lambda path: os.mkfifo(path / "scaler.pt"), "'scaler.pt'"),
    "beyond the end": (as_step(10**9), "none of 1 to 19"),
    "at the end": (as_step(20), "none of 1 to 19"),
    "another step": (as_step(15), "not of step 15"),
    "no number": (as_step("x"), "none of 1 to 19"),
    "long number": (as_step("9" * 200), "none of 1 to 19"),
    "leading zero": (as_step("012"), "none of 1 to 19"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_checkpoint_that_is_not_right_is_passed_over_for_the_one_before(tmp_path, case):
    damage, part = DAMAGES[case]
    checkpoint(tmp_path, 9)
    damage(checkpoint(tmp_path, 12))
    said = []
    assert checkpoints.newest(tmp_path, ASKED, said.append) == (tmp_path / "checkpoint-9", 9, 1.5)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-9"]
    if case not in ("no number", "long number"):  # which stand last
        (notice,) = said
        assert notice["event"] == "notice" and part in notice["message"]
        assert "passed over" in notice["message"] and str(tmp_path) not in notice["message"]


def test_a_link_is_not_followed_to_what_would_be_deleted(tmp_path):
    elsewhere = checkpoint(tmp_path / "elsewhere", 9)
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AdaRankError, match="is a link"):
        checkpoints.newest(tmp_path / "checkpoints", {**ASKED, "seed": 3})
    checkpoint(tmp_path / "kept", 10)
    (tmp_path / "kept" / "checkpoint-11").symlink_to(elsewhere)
    assert checkpoints.newest(tmp_path / "kept", ASKED)[1] == 10
    assert elsewhere.is_dir() and (elsewhere / "optimizer.pt").exists()


@pytest.mark.usefixtures("every_step")
def test_a_foreign_pickle_with_a_right_mark_is_one_sentence_and_not_run(
    tiny_bert, tiny_task, tmp_path
):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    trained(tiny_bert, tiny_task, until=3, output=tmp_path)
    path = tmp_path / "checkpoints" / "checkpoint-4"
    (path / "optimizer.pt").write_bytes(pickle.dumps(Evil()))
    marked({"files": checkpoints._digests(path)})(path)
    with pytest.raises(AdaRankError, match="checkpoint-4' cannot be gone on from"):
        trained(tiny_bert, tiny_task, output=tmp_path)
    assert not (tmp_path / "ran").exists()


def test_seconds_go_on_too(tiny_bert, tiny_task, tmp_path):
    trained(tiny_bert, tiny_task, until=3, output=tmp_path)
    mark = tmp_path / "checkpoints" / "checkpoint-4" / checkpoints.WHOLE
    data = json.loads(mark.read_text())
    mark.write_text(json.dumps({**data, "seconds": 1000.0}))
    result, events = trained(tiny_bert, tiny_task, output=tmp_path)
    assert 1000 < events[1]["seconds"] < result["train_seconds"] < 1100


# Killed


KILLER = """
import os, signal, sys
from adarank_core.runs import jobs
from adarank_core.training import checkpoints
from adarank_core.__main__ import main
checkpoints.CHECKPOINT_SECONDS = 0.0
arm, step, moment = sys.argv[1], int(sys.argv[2]), sys.argv[3]
record, on_save = jobs._Recorder.record, checkpoints.CheckpointCallback.on_save
def die(): os.kill(os.getpid(), signal.SIGKILL)
def recorded(self, event):
    record(self, event)
    self.at = event
    if moment == "step" and event.get("arm") == arm and event.get("step") == step:
        die()
def saved(self, args, state, control, **kwargs):
    if moment == "save" and arm in args.output_dir and state.global_step == step:
        die()
    return on_save(self, args, state, control, **kwargs)
jobs._Recorder.record, checkpoints.CheckpointCallback.on_save = recorded, saved
sys.exit(main(sys.argv[4:]))
"""


@pytest.mark.parametrize(
    ("step", "moment", "resumed"),
    [(6, "step", 5), (4, "save", 3)],
    ids=str,
)
def test_a_killed_comparison_goes_on_in_the_middle_of_a_run(
    tiny_bert, tiny_file, uninterrupted, tmp_path, step, moment, resumed
):
    folder = tmp_path / "run"
    command = [*uninterrupted.command, "--output", str(folder)]
    code = subprocess.run(
        [sys.executable, "-c", KILLER, "adarank", str(step), moment, *command],
        cwd=ROOT,
        capture_output=True,
        timeout=300,
    ).returncode
    assert code == -signal.SIGKILL
    assert (folder / "runs" / "uniform-seed0" / "result.json").exists()
    first = (folder / "runs" / "uniform-seed0" / "result.json").read_bytes()
    assert main([*command, "--resume"]) == 0
    assert (folder / "runs" / "uniform-seed0" / "result.json").read_bytes() == first
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    resumes = [event["step"] for event in events if event["event"] == "resumed"]
    assert resumes == ([] if resumed is None else [resumed])
    assert not list(folder.rglob("checkpoint-*"))
    for arm in ("uniform", "adarank"):
        name = f"runs/{arm}-seed0/result.json"
        ours, theirs = read_json(folder / name), read_json(uninterrupted.folder / name)
        assert plain(ours) == plain(theirs)
    adapters = [f / "runs/adarank-seed0/adapter" for f in (folder, uninterrupted.folder)]
    ours, theirs = ((a / "adapter_model.safetensors").read_bytes() for a in adapters)
    assert ours == theirs


@pytest.fixture(scope="module")
def uninterrupted(tiny_bert, tiny_file, tmp_path_factory):
    """A comparison that nothing came between: its command and its folder."""

    folder = tmp_path_factory.mktemp("whole") / "run"
    command = ["compare", "--model", tiny_bert, "--task", tiny_file, "--steps", "7"]
    command += ["--batch-size", "4", "--average-rank", "3", "--trials", "2"]
    assert main([*command, "--output", str(folder)]) == 0
    return SimpleNamespace(folder=folder, command=command)


# A full disk


@pytest.mark.parametrize(
    "message",
    [  # as torch and safetensors said on a disk that was full
        "[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file "
        "data/0: file write failed",
        "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
        "basic_ios::clear: iostream error",
        "Error while serializing: I/O error: No space left on device (os error 28)",
    ],
)
def test_a_full_disk_is_one_sentence_and_what_is_done_stays(
    tiny_bert, tiny_file, tmp_path, monkeypatch, capsys, message
):
    folder = tmp_path / "run"
    command = ["compare", "--model", tiny_bert, "--task", tiny_file, "--steps", "3"]
    command += ["--trials", "2", "--average-rank", "2", "--output", str(folder)]
    real = torch.save

    def save(data, path, *arguments, **options):
        if "adarank-seed0" in str(path):
            raise RuntimeError(message)
        return real(data, path, *arguments, **options)

    monkeypatch.setattr(torch, "save", save)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    assert main(command) == 2
    line = capsys.readouterr().err.strip().split("\n")[-1]
    assert line.startswith("error: ") and "No space left" in line and "stays" in line
    assert (folder / "runs" / "uniform-seed0" / "result.json").exists()
    monkeypatch.setattr(torch, "save", real)
    assert main([*command, "--resume"]) == 0
    assert list(compare_arms(folder)) == ["uniform", "adarank"]


def compare_arms(folder):
    return read_json(folder / "verdict.json")["arms"]


def test_an_arm_that_runs_out_of_memory_is_given_up(tiny_bert, tiny_task, tmp_path, monkeypatch):
    from transformers import Trainer

    real = Trainer.training_step

    def training_step(trainer, model, inputs, *arguments, **options):
        if "permuted" in trainer.args.output_dir:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
        return real(trainer, model, inputs, *arguments, **options)

    monkeypatch.setattr(Trainer, "training_step", training_step)
    settings = Settings(steps=2, batch_size=6)
    arms = ("permuted", "uniform", "ramp-up")
    verdict = compare(tiny_bert, tiny_task, arms, output=tmp_path, settings=settings, trials=2)
    assert list(verdict.arms) == ["uniform", "ramp-up"]
    assert "batches of 6 texts" in verdict.failed["permuted"]
    assert "such as 3" in verdict.failed["permuted"]
