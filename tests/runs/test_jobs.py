"""Background runs: real processes, from their start to every kind of end."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from adarank_core import AdaRankError
from adarank_core.files import read_json, write_json
from adarank_core.runs import jobs, run_queue
from adarank_core.runs.jobs import Run, cancel, new_run_folder, open_run, run_folder, runs, start
from adarank_core.versions import PACKAGES

WAIT = 120


def wait_for(folder, *states):
    end = time.monotonic() + WAIT
    seen = []
    while time.monotonic() < end:
        run = run_folder(folder)
        if run.state not in seen[-1:]:
            seen.append(run.state)
        if run.state in states:
            return run, seen
        time.sleep(0.1)
    raise AssertionError((seen, (folder / "log.txt").read_text()))


# In this process


def test_a_new_folder_is_new_and_says_what_it_is(tmp_path):
    folders = [new_run_folder("compare", tmp_path / "runs") for _ in range(20)]
    assert len(set(folders)) == 20 and all(folder.is_dir() for folder in folders)
    assert [folder.name for folder in folders] == sorted(folder.name for folder in folders)
    assert all(folder.name.endswith("-compare") for folder in folders)


def test_runs_are_listed_newest_first(home):
    assert runs() == []
    made = [new_run_folder("compare") for _ in range(3)]
    for folder, name in zip(made, jobs.RUN_FILES, strict=True):
        (folder / name).touch()
    (made[0].parent / "a file").touch()
    (made[0].parent / ".deleted").mkdir()
    (made[0].parent / "notes").mkdir()
    (made[0].parent / "notes" / "notes.txt").touch()
    assert [run.folder for run in runs()] == made[::-1]


def test_a_run_records_what_was_asked_and_what_happened(tmp_path):
    with open_run(tmp_path / "run", {"command": "compare", "steps": 3}) as recorder:
        recorder.record({"event": "step", "step": 1})
        assert run_folder(tmp_path / "run").state == "running"
        assert not recorder.should_stop()
    run = run_folder(tmp_path / "run")
    assert run.state == "finished" and run.message == ""
    assert run.config["steps"] == 3 and set(PACKAGES) < set(run.config["versions"])
    assert [event["event"] for event in run.events] == ["started", "step", "finished"]
    times = [event["time"] for event in run.events]
    assert times == sorted(times) and abs(times[0] - time.time()) < 60


def test_a_run_that_is_refused_before_it_made_anything_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("ADARANK_MAX_RUN_MINUTES", "1")
    clocks = []

    def fail(name: str, error: Exception, made: str | None = None):
        with pytest.raises(type(error)), open_run(tmp_path / name, {}) as recorder:
            recorder.start_clock()
            clocks.append(recorder.clock)
            if made:
                (tmp_path / name / made).write_text("{}")
            raise error

    refused = AdaRankError("there is no task 'trecc'")
    fail("new", refused)
    assert not (tmp_path / "new").exists()
    for name in ("given", "started"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "given")
    for name in ("given", "link"):
        fail(name, refused)
        assert not list((tmp_path / "given").iterdir()) and (tmp_path / "link").is_symlink()
    (tmp_path / "started" / "log.txt").touch()  # as the app does
    fail("started", refused)
    fail("made", refused, made="ranks.json")
    fail("bug", ZeroDivisionError())
    for kept in ("made", "bug", "started"):
        assert run_folder(tmp_path / kept).state == "failed"
    assert len(clocks) == 6 and all(clock.finished.is_set() for clock in clocks)


def test_a_run_that_fails_says_why(tmp_path):
    (tmp_path / "log.txt").touch()
    with pytest.raises(AdaRankError), open_run(tmp_path, {}):
        raise AdaRankError("the rank is 0")
    run = run_folder(tmp_path)
    assert (run.state, run.message) == ("failed", "the rank is 0")
    with pytest.raises(ZeroDivisionError), open_run(tmp_path, {}):
        raise ZeroDivisionError("by 0")
    run = run_folder(tmp_path)
    assert run.state == "failed" and "ZeroDivisionError: by 0" in run.message
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, {}):
        raise KeyboardInterrupt
    assert run_folder(tmp_path).state == "cancelled"


def test_a_cancel_that_nobody_asks_about_any_more_leaves_a_finished_run_finished(tmp_path):
    with open_run(tmp_path, {}) as recorder:
        assert not recorder.should_stop()  # before the last step
        cancel(tmp_path)
    assert run_folder(tmp_path).state == "finished"
    with open_run(tmp_path, {}) as recorder:  # nor does it stop the next one
        assert not recorder.should_stop()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence(tmp_path, number):
    with (
        pytest.raises(AdaRankError, match=r"cannot be written any more .* make room"),
        open_run(tmp_path, {}) as recorder,
    ):
        recorder.record({"event": "step", "step": 1})
        raise OSError(number, os.strerror(number))
    run = run_folder(tmp_path)
    assert run.state == "failed" and "make room" in run.message


def test_a_disk_that_is_too_full_for_the_last_word_is_no_traceback(tmp_path, monkeypatch):
    def record(recorder, event):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(AdaRankError, match="make room"), open_run(tmp_path, {}) as recorder:
        monkeypatch.setattr(jobs._Recorder, "record", record)
        recorder.record({"event": "step", "step": 1})
    assert run_folder(tmp_path).state == "interrupted"


@pytest.mark.parametrize(
    "error", [AdaRankError("the rank is 0"), KeyboardInterrupt(), ZeroDivisionError("by 0")]
)
def test_what_ended_a_run_comes_out_though_it_cannot_be_recorded(tmp_path, monkeypatch, error):
    def record(recorder, event):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(type(error)) as raised, open_run(tmp_path, {}):
        monkeypatch.setattr(jobs._Recorder, "record", record)
        raise error
    assert raised.value is error
    monkeypatch.undo()
    assert run_folder(tmp_path).state == "interrupted"


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path):
    (tmp_path / "events.jsonl").write_bytes(b'{"event": "step", "step": 1}\n{"event": "st')
    with open_run(tmp_path, {}):
        pass
    assert [event["event"] for event in run_folder(tmp_path).events] == [
        "step",
        "started",
        "finished",
    ]


WITHOUT_STREAMLIT = """
import importlib.metadata, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "streamlit":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def from_name(name, found=importlib.metadata.Distribution.from_name):
    if name == "streamlit":
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

sys.meta_path.insert(0, Missing())
importlib.metadata.Distribution.from_name = from_name
"""


def test_a_run_needs_no_streamlit(tiny_bert, tiny_file, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_STREAMLIT)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    root = Path(jobs.__file__).parents[2]
    called = {"cwd": root, "env": environment, "capture_output": True, "text": True}
    missing = subprocess.run([sys.executable, "-c", "import streamlit"], **called)
    assert "No module named 'streamlit'" in missing.stderr
    command = [sys.executable, "-m", "adarank_core", "finetune", "--model", tiny_bert]
    command += ["--task", tiny_file, "--uniform-rank", "2", "--steps", "1", "--batch-size", "4"]
    ended = subprocess.run([*command, "--output", str(tmp_path / "run")], **called)
    assert ended.returncode == 0, ended.stderr
    run = run_folder(tmp_path / "run")
    assert run.state == "finished" and "streamlit" not in run.config["versions"]


def test_an_answered_cancel_does_not_stop_the_next_run(tmp_path):
    with open_run(tmp_path, {}) as recorder:
        cancel(tmp_path)
        assert recorder.should_stop()
        time.sleep(0.02)
    assert run_folder(tmp_path).state == "cancelled"
    with open_run(tmp_path, {}) as recorder:
        assert not recorder.should_stop()
    assert run_folder(tmp_path).state == "finished"


def test_a_folder_has_one_run_at_a_time(tmp_path):
    with (
        open_run(tmp_path, {}),
        pytest.raises(AdaRankError, match="is at work"),
        open_run(tmp_path, {}),
    ):
        pass
    assert run_folder(tmp_path).state == "finished"


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AdaRankError, match="cannot be written"), open_run(tmp_path / "file", {}):
        pass


def test_broken_lines_are_passed_over(tmp_path):
    lines = [
        b'{"event": "started"}',
        b"{nope",
        b"3",
        b"{}",
        b"\xff",
        b'{"event": "step", "step": 1}',
    ]
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines) + b'\n{"event": "finished"')
    run = run_folder(tmp_path)
    assert [event["event"] for event in run.events] == ["started", "step"]
    assert run.state == "damaged"  # nobody knows what was asked
    (tmp_path / "config.json").write_text("{}")
    assert run_folder(tmp_path).state == "interrupted"
    (tmp_path / "config.json").write_text("{")
    assert run_folder(tmp_path).config == {} and run_folder(tmp_path).state == "damaged"


def test_looking_at_a_run_does_not_keep_it_from_starting(tmp_path):
    (tmp_path / "lock").touch()
    looking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from adarank_core.runs.jobs import run_folder\n"
            "print('ready', flush=True)\n"
            "while True: run_folder(pathlib.Path(sys.argv[1]))",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        cwd=Path(jobs.__file__).parents[2],
    )
    try:
        looking.stdout.readline()
        for _ in range(30):
            with open_run(tmp_path, {}):
                pass
    finally:
        looking.kill()
        looking.wait()
        looking.stdout.close()


def test_a_cancel_counts_though_a_killed_process_left_half_a_line(tmp_path):
    (tmp_path / "events.jsonl").write_bytes(b'{"event": "step"}\n{"event": "st')
    time.sleep(0.02)
    cancel(tmp_path)
    with open_run(tmp_path, {}) as recorder:
        assert recorder.should_stop()


# What is seen of a run

ASKED = {
    "command": "compare",
    "model": "embedded",
    "task": "docstrings",
    "arms": ["uniform"],
    "seeds": [0],
    "average_rank": 2.0,
    "settings": {"steps": 10, "batch_size": 32},
}


def lines(*events):
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def write(folder, events=None, asked=None, error=None):
    """Make a run's folder up; asked is how many seconds after the last event it was started."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", ASKED)
    (folder / "lock").touch()
    now = time.time()
    if events is not None:
        (folder / "events.jsonl").write_bytes(events)
        os.utime(folder / "events.jsonl", (now - 50, now - 50))
    if asked is not None:
        (folder / "command.json").write_text("{}")
        os.utime(folder / "command.json", (now - 50 + asked, now - 50 + asked))
    if error is not None:
        (folder / "log.txt").write_text(f"started\nerror: {error}\n")
    return folder


def seen(folder):
    run = run_folder(folder)
    return run.state, run.message, run.place


STEP, QUEUED = {"event": "step", "step": 1}, {"event": "queued", "place": 3}
FAILED = {"event": "failed", "message": "the rank is 0"}


@pytest.mark.parametrize(
    ("events", "asked", "error", "free", "held"),
    [
        (None, None, None, ("interrupted", ""), ("running", 0)),
        (None, 0, None, ("starting", ""), ("running", 0)),
        (None, -50, None, ("interrupted", ""), ("running", 0)),
        (None, 0, "no task 'x'", ("failed", "no task 'x'"), ("running", 0)),
        ([STEP], -5, None, ("interrupted", ""), ("running", 0)),
        ([STEP], -5, "of an earlier process", ("interrupted", ""), ("running", 0)),
        ([STEP], 5, None, ("starting", ""), ("running", 0)),
        ([STEP], 5, "no task 'x'", ("failed", "no task 'x'"), ("running", 0)),
        ([QUEUED], -5, None, ("interrupted", ""), ("queued", 3)),
        ([QUEUED], None, None, ("interrupted", ""), ("queued", 3)),
        ([QUEUED], 5, None, ("starting", ""), ("running", 0)),
        ([QUEUED, {"event": "turn"}], -5, None, ("interrupted", ""), ("running", 0)),
        ([QUEUED, {"event": "cancelled"}], -5, None, ("cancelled", ""), ("cancelled", 0)),
        ([STEP, {"event": "finished"}], -5, None, ("finished", ""), ("finished", 0)),
        ([STEP, {"event": "finished"}], 5, None, ("starting", ""), ("running", 0)),
        ([STEP, {"event": "finished"}], 5, "no room", ("finished", "no room"), ("running", 0)),
        ([STEP, FAILED], -5, None, ("failed", "the rank is 0"), ("failed", 0)),
        ([FAILED, {"event": "started"}], -5, None, ("interrupted", ""), ("running", 0)),
    ],
)
def test_the_state_of_a_run(tmp_path, events, asked, error, free, held):
    folder = write(tmp_path, events and lines(*events), asked, error)
    assert seen(folder) == (*free, 0)
    with FileLock(folder / "lock"):
        assert seen(folder) == (held[0], "the rank is 0" if held[0] == "failed" else "", held[1])


def test_a_start_that_came_to_nothing_leaves_what_was_there(tmp_path):
    finished = lines(STEP, {"event": "finished"})
    folder = write(tmp_path, finished, asked=5)
    old = time.time() - 100
    os.utime(folder / "events.jsonl", (old - 100, old - 100))
    os.utime(folder / "command.json", (old, old))
    assert seen(folder)[0] == "finished"


def test_a_copied_folder_is_seen_as_the_one_it_was_copied_from(tmp_path):
    folder = write(tmp_path, lines({**STEP, "time": 90.0}, {"event": "finished", "time": 99.0}))
    write_json(folder / "command.json", {"command": ["python"], "time": 50.0})
    assert seen(folder) == ("finished", "", 0)  # all its files are as old as the copy


def test_an_end_is_seen_that_comes_while_one_looks(tmp_path, monkeypatch):
    folder = write(tmp_path, lines(STEP))
    real = jobs.is_locked

    def ends(folder):  # between the first look at its events and the test of its lock
        with (folder / "events.jsonl").open("ab") as file:
            file.write(lines(FAILED))
        return real(folder)

    monkeypatch.setattr(jobs, "is_locked", ends)
    assert seen(folder) == ("failed", "the rank is 0", 0)


@pytest.mark.parametrize("length", [10, 2020, 2030, 2040, 2048, 2060, 16_384, 300_000])
def test_the_last_event_is_found_however_long_it_is(tmp_path, length):
    long = {"event": "failed", "message": "x" * length}
    for before in (b"", lines(STEP), lines(STEP) * 500, b"{nope\n" * 500):
        for after in (b"", b'{"event": "step"}', b"\n\nnope\n3\n{}\n", b"nope\n" * 1000):
            write(tmp_path, before + lines(long) + after)
            assert seen(tmp_path) == ("failed", "x" * length, 0)
            assert run_folder(tmp_path).events[-1] == long


def test_the_end_of_a_broken_line_is_no_event(tmp_path):
    for length in range(1980, 2050):  # whatever part of it is read first
        write(tmp_path, lines(STEP) + b"nope" + lines({"event": "failed", "message": "x" * length}))
        assert seen(tmp_path)[0] == "interrupted"


@pytest.mark.parametrize("content", [b"", b"\n", b'{"event": "sta'])
def test_events_without_any_are_no_trouble(tmp_path, content):
    write(tmp_path, content)
    assert seen(tmp_path)[0] == "interrupted" and run_folder(tmp_path).events == ()


@pytest.mark.parametrize("content", [b"nope\n" * 2000, b"\x00" * 5000, b"\xff\n\x8f\n", b"\x9c"])
def test_noise_in_place_of_events_is_damage_until_the_run_goes_on(tmp_path, content):
    write(tmp_path, content)
    run = run_folder(tmp_path)
    assert run.state == "damaged" and run.events == () and run.config == ASKED
    assert "'events.jsonl'" in run.message and "--resume" in run.message
    write(tmp_path, lines(STEP) + content * (content[:1] != b"n"))
    assert seen(tmp_path)[0] == ("damaged" if content[:1] != b"n" else "interrupted")
    with open_run(tmp_path, ASKED):
        pass
    assert seen(tmp_path)[0] == "finished"


def test_events_are_read_once_and_when_they_are_asked_for(tmp_path):
    run = run_folder(write(tmp_path, lines(STEP)))
    write(tmp_path, lines(STEP, STEP))
    assert run.events == (STEP, STEP)
    write(tmp_path, b"")
    assert run.events == (STEP, STEP)
    assert Run(tmp_path, {}, "running") == Run(tmp_path, {}, "running", "", 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [("verdict.json", "makes it anew"), ("comparison.json", "delete that file")],
)
def test_a_result_that_was_cut_off_is_a_damaged_run_and_says_what_to_do(tmp_path, name, said):
    write(tmp_path, lines(STEP, {"event": "finished"}))
    assert seen(tmp_path)[0] == "finished"
    (tmp_path / name).write_text('{"format": "adarank-ver')
    run = run_folder(tmp_path)
    assert run.state == "damaged" and run.config == ASKED  # so it can go on
    assert name in run.message and said in run.message and str(tmp_path) not in run.message


def test_a_config_that_is_no_object_is_none(tmp_path):
    write(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    assert run_folder(tmp_path).config == {}


def test_a_thousand_runs_are_listed_in_under_a_second(tmp_path):
    about = {"arm": "adarank", "seed": 0, "time": 1795462860.286}
    steps = [
        {"event": "step", "step": n, "steps": 500, "seconds": 0.5, "train_loss": 1.78, **about}
        for n in range(500)
    ]
    body, ended = lines({"event": "started", "time": 1795462858.547}, *steps), {}
    for ending in ("finished", "cancelled", "failed"):
        ended[ending] = body + lines({"event": ending, "message": "it broke", "time": 1.0})
    wanted = {}
    kinds = ("finished", "finished", "finished", "cancelled", "failed", "interrupted", "refused")
    for number in range(1000):
        kind = kinds[number % len(kinds)]
        folder = tmp_path / f"20261124-100000-{number:06d}-compare"
        refused = kind == "refused"
        write(folder, ended.get(kind, body), 5 if refused else -5, "no" if refused else None)
        wanted[folder] = "failed" if refused else kind
    busy = [tmp_path / f"20261124-100000-{number:06d}-compare" for number in (5, 19, 33)]
    (busy[1] / "events.jsonl").write_bytes(body + lines(QUEUED))
    locks = [FileLock(folder / "lock") for folder in busy]
    for lock in locks:
        lock.acquire()
    wanted |= {busy[0]: "running", busy[1]: "queued", busy[2]: "running"}
    took = []
    for _ in range(3):
        began = time.perf_counter()
        found = runs(tmp_path)
        took.append(time.perf_counter() - began)
    for lock in locks:
        lock.release()
    assert {run.folder: run.state for run in found} == wanted
    assert [run.folder for run in found] == sorted(wanted, reverse=True)
    assert all(run.config == ASKED for run in found)
    assert min(took) < 1


def test_the_lock_of_a_run_that_has_ended_is_left_alone(tmp_path, monkeypatch):
    def tested(folder):
        raise AssertionError(folder)

    monkeypatch.setattr(jobs, "is_locked", tested)
    write(tmp_path, lines(STEP, {"event": "finished"}), asked=-5)
    assert seen(tmp_path)[0] == "finished"


# How a run is started


@pytest.mark.parametrize(
    ("number", "own", "expected"),
    [
        (2, None, None),
        (7, None, None),
        (8, None, "4"),
        (11, None, "5"),
        (8, "3", "3"),
    ],
)
def test_runs_share_the_cores(tmp_path, monkeypatch, number, own, expected):
    given = {}
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda command, **options: given.update(options))
    monkeypatch.setattr(run_queue, "cores", lambda: number)
    monkeypatch.setattr(jobs, "cores", lambda: number)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    start(["compare"], tmp_path)
    assert given["env"].get("OMP_NUM_THREADS") == expected
    assert given["env"]["ADARANK_HOME"] == os.environ["ADARANK_HOME"]
    assert os.environ.get("OMP_NUM_THREADS") == own


def test_runs_are_looked_after_without_torch():
    code = (
        "import sys, adarank_core.runs.jobs, adarank_core.runs.run_queue, adarank_core.runs.store\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'scipy')))"
    )
    root = Path(jobs.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


# Processes of their own, all at once: each takes seconds to import torch


@pytest.fixture(scope="module")
def started(tiny_bert, tiny_file, tmp_path_factory):
    parent, processes = tmp_path_factory.mktemp("runs"), {}
    arguments = ["--model", tiny_bert, "--task", tiny_file, "--batch-size", "4"]
    wanted = {
        "quick": ["finetune", *arguments, "--uniform-rank", "2", "--steps", "3"],
        "long": ["compare", *arguments, "--average-rank", "2", "--steps", "100000"],
        "killed": ["finetune", *arguments, "--uniform-rank", "2", "--steps", "100000"],
        "early": ["finetune", *arguments, "--uniform-rank", "2", "--steps", "100000"],
        "wrong": ["finetune", "--task", "no/such/task", "--uniform-rank", "2"],
    }
    real = subprocess.Popen
    with pytest.MonkeyPatch.context() as patch:
        for name, command in wanted.items():
            folder = new_run_folder(name, parent)

            def popen(*given, name=name, folder=folder, **options):
                processes[name] = (real(*given, **options), folder)
                return processes[name][0]

            patch.setattr(jobs.subprocess, "Popen", popen)
            start(command, folder)
    cancel(processes["early"][1])
    yield {name: (process, folder) for name, (process, folder) in processes.items()}
    for process, _ in processes.values():
        process.kill()
        process.wait()


def test_a_run_starts_runs_and_finishes(started):
    process, folder = started["quick"]
    assert run_folder(folder).state in ("starting", "running", "finished")
    run, seen = wait_for(folder, "finished", "failed", "interrupted")
    assert seen == [state for state in ("starting", "running", "finished") if state in seen]
    assert [e["step"] for e in run.events if e["event"] == "step"] == [1, 2, 3]
    assert run.events[-2]["event"] == "result" and 0 <= run.events[-2]["test_accuracy"] <= 1
    assert run.config["command"] == "finetune" and run.config["plan"]["ranks"]
    assert read_json(folder / "result.json")["steps"] == 3
    assert (folder / "adapter" / "adapter_config.json").exists()
    assert process.wait(WAIT) == 0
    assert json.loads((folder / "command.json").read_text())["command"][0] == "python"


def test_a_running_comparison_can_be_cancelled_but_not_joined(started):
    process, folder = started["long"]
    wait_for(folder, "running")
    with pytest.raises(AdaRankError, match="is at work"), open_run(folder, {}):
        pass
    end = time.monotonic() + WAIT
    while not any(event["event"] == "step" for event in run_folder(folder).events):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.1)
    cancel(folder)
    run, _ = wait_for(folder, "cancelled", "finished", "failed", "interrupted")
    assert run.state == "cancelled" and process.wait(WAIT) == 0
    assert not (folder / "verdict.json").exists()


def test_a_killed_run_is_interrupted(started):
    process, folder = started["killed"]
    wait_for(folder, "running")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(WAIT)
    # The lock is gone with the process; what it had written is still there.
    run = run_folder(folder)
    assert run.state == "interrupted" and run.events[0]["event"] == "started"


def test_a_cancel_before_the_process_is_ready_counts(started):
    process, folder = started["early"]
    run, seen = wait_for(folder, "cancelled", "finished", "failed", "interrupted")
    assert run.state == "cancelled", (seen, run.message)
    assert process.wait(WAIT) == 0


def test_a_run_that_is_refused_says_why(started):
    process, folder = started["wrong"]
    assert process.wait(WAIT) == 2
    run = run_folder(folder)
    assert run.state == "failed" and "'no/such/task'" in run.message


def test_a_run_over_its_time_stops_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("ADARANK_MAX_RUN_MINUTES", "0.0001")
    with open_run(tmp_path, {}) as recorder:
        assert not recorder.should_stop()  # it has not begun
        recorder.start_clock()
        time.sleep(0.01)
        assert recorder.should_stop()
    assert recorder.clock.finished.is_set()  # it ends no process that goes on
    run = run_folder(tmp_path)
    assert run.state == "failed" and run.message == (
        "the run was stopped after 0.0001 minutes, the most that are allowed here "
        "(ADARANK_MAX_RUN_MINUTES); what has finished stays"
    )


def test_a_process_that_never_asks_is_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("ADARANK_MAX_RUN_MINUTES", "0.0001")
    monkeypatch.setattr(jobs, "GRACE", 0.05)
    ended = threading.Event()
    monkeypatch.setattr(jobs.os, "_exit", lambda code: ended.set())
    with open_run(tmp_path, {}) as recorder:
        recorder.start_clock()
        assert ended.wait(30)
        assert run_folder(tmp_path).message.startswith("the run was stopped after")


def test_without_a_cap_no_clock_runs(tmp_path):
    with open_run(tmp_path, {}) as recorder:
        recorder.start_clock()
        assert recorder.end_of_time == float("inf")
