"""The queue: real processes that wait for each other, are cancelled, killed and put to sleep."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from adarank_core import AdaRankError, hardware
from adarank_core.hardware import cores
from adarank_core.runs import run_queue
from adarank_core.runs.jobs import cancel, open_run, run_folder
from adarank_core.runs.run_queue import Turn, at_once, take_gpu, wait_for_turn
from adarank_core.runs.visitors import home_of

ROOT = Path(run_queue.__file__).resolve().parents[2]
WAIT = 60

RUN = """
import sys, time, pathlib
from adarank_core.runs import jobs
from adarank_core.runs import run_queue
folder, at_once, waits = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "waits"
jobs.versions = dict  # asking git takes its time
run_queue.at_once = lambda: at_once
run_queue.QUEUE_POLL_SECONDS = 0.02
take = run_queue._take
while not (folder.parent / "go").exists():
    time.sleep(0.001)
with jobs.open_run(folder, {}) as recorder:
    def told(*given):
        ticket = take(*given)
        recorder.record({"event": "ticket", "number": int(ticket.path.name)})
        return ticket
    run_queue._take = told
    if run_queue.wait_for_turn(recorder, waits):
        recorder.record({"event": "begins"})
        while not (folder / "done").exists() and not recorder.should_stop():
            time.sleep(0.01)
        recorder.record({"event": "ends"})
"""


@pytest.fixture
def launch(tmp_path):
    """Start runs that work until their folder has a file ``done``."""
    processes = []

    def launched(name, waits=True, at_once=1):
        how = "waits" if waits else "works"
        folder = tmp_path / name
        words = [sys.executable, "-c", RUN, str(folder), str(at_once), how]
        processes.append(subprocess.Popen(words, cwd=ROOT))
        return folder, processes[-1]

    (tmp_path / "go").touch()
    yield launched
    for process in processes:
        process.kill()
        process.wait()


def until(condition, what="that"):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, f"waited too long for {what}"
        time.sleep(0.01)


def events(folder, *names):
    return [event for event in run_folder(folder).events if event["event"] in names]


def works(folder):
    until(lambda: events(folder, "begins"), f"{folder.name} to begin")
    assert run_folder(folder).state == "running"


def queued(folder, place):
    def is_there():
        run = run_folder(folder)
        return (run.state, run.place) == ("queued", place)

    until(is_there, f"{folder.name} to have place {place}")


def places(folder):
    return [event["place"] for event in events(folder, "queued")]


def killed(process):
    process.kill()
    process.wait()


# In this process


@pytest.fixture
def at_once_or_never(monkeypatch):
    """Who waits in this process waits forever."""

    def sleep(seconds):
        raise AssertionError("waited")

    monkeypatch.setattr(run_queue, "time", SimpleNamespace(sleep=sleep))


def test_one_run_for_every_four_cores(monkeypatch):
    assert cores() >= 1
    found = []
    for number in (1, 3, 4, 7, 8, 64):
        monkeypatch.setattr(run_queue, "cores", lambda number=number: number)
        found.append(at_once())
    assert found == [1, 1, 1, 1, 2, 16]


@pytest.mark.parametrize("waits", [True, False])
def test_who_is_alone_waits_for_nobody(tmp_path, at_once_or_never, waits):
    with open_run(tmp_path / "run", {}) as recorder:
        assert wait_for_turn(recorder, waits)
    assert [e["event"] for e in run_folder(tmp_path / "run").events] == ["started", "finished"]


def test_the_queue_is_beside_the_folder_however_it_is_named(
    tmp_path, monkeypatch, at_once_or_never
):
    (tmp_path / "runs" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs" / "run")
    with open_run(Path(), {}) as recorder:
        assert wait_for_turn(recorder, True)
    assert (tmp_path / "runs" / ".queue").is_dir()


def test_what_does_not_belong_there_blocks_nobody(tmp_path, at_once_or_never):
    place = tmp_path / ".queue"
    place.mkdir()
    (tmp_path / "lock").touch()
    with FileLock(tmp_path / "lock"):  # held, but no run's
        tickets = (b"", b".", b"..", b"../x", b"/", b"missing", b"a/b", b"\xff", b"a\n")
        for number, owner in enumerate(tickets):
            (place / f"{number:09d}").write_bytes(owner)
        (place / "notes.txt").touch()
        with open_run(tmp_path / "run", {}) as recorder:
            assert wait_for_turn(recorder, True)
            assert sorted(path.name for path in place.iterdir()) == [
                "000000001",
                "lock",
                "notes.txt",
            ]


def test_a_queue_that_cannot_be_kept_stops_only_who_would_wait(tmp_path, monkeypatch):
    (tmp_path / ".queue").touch()
    with open_run(tmp_path / "run", {}) as recorder:
        assert wait_for_turn(recorder, False)
        with pytest.raises(AdaRankError, match=r"queue .* cannot be written \(File exists\)"):
            wait_for_turn(recorder, True)
    (tmp_path / ".queue").unlink()
    (tmp_path / ".queue").mkdir()
    monkeypatch.setattr(run_queue, "PATIENCE", 0.05)
    with FileLock(tmp_path / ".queue" / "lock"), open_run(tmp_path / "run", {}) as recorder:
        assert wait_for_turn(recorder, False)
        with pytest.raises(AdaRankError, match=r"cannot be written \(it is locked\)"):
            wait_for_turn(recorder, True)


# Processes of their own


def test_first_come_first_served_and_everyone_is_told_his_place(launch):
    one, process = launch("one")
    works(one)
    two, _ = launch("two")
    queued(two, 1)
    three, _ = launch("three")
    queued(three, 2)
    (one / "done").touch()
    works(two)
    assert process.wait(WAIT) == 0 and run_folder(one).state == "finished"
    queued(three, 1)
    (two / "done").touch()
    works(three)
    assert places(one) == [] and places(two) == [1] and places(three) == [2, 1]
    assert [len(events(folder, "turn")) for folder in (one, two, three)] == [0, 1, 1]
    assert run_folder(three).place == 0


def test_many_that_start_at_the_same_moment_work_two_at_a_time(launch, tmp_path):
    (tmp_path / "go").unlink()
    runs = [launch(f"run{number}", at_once=2) for number in range(6)]
    for folder, _ in runs:
        folder.mkdir()
    time.sleep(1)  # most of them have imported what they need
    (tmp_path / "go").touch()
    order = []
    while len(order) < len(runs):
        ended = sum((folder / "done").exists() for folder, _ in runs)
        expected = min(ended + 2, len(runs))
        until(lambda n=expected: sum(bool(events(f, "begins")) for f, _ in runs) == n)
        time.sleep(0.05)
        new = [folder for folder, _ in runs if events(folder, "begins") and folder not in order]
        order += sorted(new, key=lambda folder: events(folder, "begins")[0]["time"])
        (order[ended] / "done").touch()
    for folder in order[-2:]:
        (folder / "done").touch()
    for _, process in runs:
        assert process.wait(WAIT) == 0
    numbers = [events(folder, "ticket")[-1]["number"] for folder in order]
    assert len(set(numbers)) == len(numbers)
    # The first two begin at once; after them, one at a time and in the order of their tickets.
    assert sorted(numbers[:2]) + numbers[2:] == sorted(numbers)
    changes = [(event["time"], 1) for folder, _ in runs for event in events(folder, "begins")]
    changes += [(event["time"], -1) for folder, _ in runs for event in events(folder, "ends")]
    at_work, most = 0, 0
    for _, change in sorted(changes):
        at_work += change
        most = max(most, at_work)
    assert most == 2


def test_a_run_is_cancelled_while_it_waits(launch):
    one, _ = launch("one")
    works(one)
    two, process = launch("two")
    queued(two, 1)
    three, _ = launch("three")
    queued(three, 2)
    cancel(two)
    assert process.wait(WAIT) == 0
    assert run_folder(two).state == "cancelled" and not events(two, "turn", "begins")
    queued(three, 1)
    assert run_folder(one).state == "running"


def test_the_killed_block_nobody(launch):
    one, working = launch("one")
    works(one)
    two, waiting = launch("two")
    queued(two, 1)
    three, _ = launch("three")
    queued(three, 2)
    killed(waiting)
    assert run_folder(two).state == "interrupted" and run_folder(two).place == 0
    queued(three, 1)
    # Who comes back comes last, although its folder has an earlier ticket: that counts until the
    # next one is taken, which others may see for a moment.
    two, _ = launch("two")
    queued(two, 2)
    queued(three, 1)
    killed(working)
    assert run_folder(one).state == "interrupted"
    works(three)
    queued(two, 1)


def test_who_does_not_wait_is_counted(launch):
    one, _ = launch("one", waits=False)
    works(one)
    two, _ = launch("two", waits=False)
    works(two)
    three, _ = launch("three")
    queued(three, 2)
    (two / "done").touch()
    queued(three, 1)
    (one / "done").touch()
    works(three)
    assert places(one) == places(two) == []


def test_a_sleep_changes_nothing(launch):
    one, working = launch("one")
    works(one)
    two, waiting = launch("two")
    queued(two, 1)
    for process in (working, waiting):
        os.kill(process.pid, signal.SIGSTOP)
    time.sleep(0.2)
    assert run_folder(one).state == "running" and run_folder(two).state == "queued"
    os.kill(waiting.pid, signal.SIGCONT)
    time.sleep(0.2)
    assert run_folder(two).state == "queued"  # who sleeps at work is at work
    os.kill(working.pid, signal.SIGCONT)
    (one / "done").touch()
    works(two)


def test_a_queue_that_was_thrown_away_is_begun_again(launch, tmp_path):
    one, _ = launch("one")
    works(one)
    two, _ = launch("two")
    queued(two, 1)
    (tmp_path / ".queue").rename(tmp_path / "thrown away")
    works(two)
    shutil.rmtree(tmp_path / "thrown away")
    three, _ = launch("three")
    queued(three, 1)


def test_a_ticket_is_not_written_through_a_link(tmp_path):
    (tmp_path / ".queue").mkdir()
    (tmp_path / ".queue" / "000000001").symlink_to(tmp_path / "elsewhere")
    with open_run(tmp_path / "run", {}) as recorder:
        assert wait_for_turn(recorder, waits=True)
    assert not (tmp_path / "elsewhere").exists()
    assert (tmp_path / ".queue" / "000000001").read_text().split("\0")[0] == "run"


# GPUs


@pytest.fixture
def four_gpus(tmp_path, monkeypatch):
    """A machine whose driver lists four GPUs."""
    driver = tmp_path / "driver"
    for number in range(4):
        (driver / f"0000:0{number}:00.0").mkdir(parents=True)
    monkeypatch.setattr(hardware, "GPUS", driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("four_gpus")
def test_as_many_runs_work_at_once_as_there_are_gpus(monkeypatch):
    assert at_once() == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert hardware.gpus() == ["1", "3"] and at_once() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert hardware.gpus() == [] and at_once() == max(1, hardware.cores() // 4)


@pytest.mark.usefixtures("four_gpus")
def test_each_run_sees_one_gpu_that_no_other_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(run_queue, "HELD", [])
    seen = []
    for name in ("first", "second", "third", "fourth", "fifth"):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        take_gpu(tmp_path / name)
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
    assert seen == ["0", "1", "2", "3", None]
    run_queue.HELD.pop(1).release()  # its process has ended
    take_gpu(tmp_path / "sixth")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


# Visitors


def test_visitors_take_turns_and_nobody_waits_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(run_queue, "at_once", lambda: 1)
    homes = tmp_path / ".visitors"
    with ExitStack() as stack:

        def comes(visitor, name):
            folder = homes / visitor / name
            recorder = stack.enter_context(open_run(folder, {}))
            queue, owner = run_queue._queue_of(folder)
            assert (queue, owner) == (tmp_path / ".queue", f"{visitor}/{name}")
            return run_queue._take(queue, owner), recorder

        first, _ = comes("a", "1")
        assert run_queue._begin(first)
        for name in "234":
            comes("a", name)
        comes("b", "1")
        comes("b", "2")
        waiting = sorted(run_queue._tickets(tmp_path / ".queue"), key=lambda one: one.order)
        assert [one.owner for one in waiting] == ["a/1", "b/1", "a/2", "b/2", "a/3", "a/4"]
        for number in range(8):
            last, _ = comes(f"newcomer {number}", "1")
        waiting = sorted(run_queue._tickets(tmp_path / ".queue"), key=lambda one: one.order)
        owners = [one.owner for one in waiting]
        assert owners.index("a/2") < owners.index("newcomer 7/1") < owners.index("a/3")
        assert not run_queue._begin(last)


def test_a_run_at_work_is_before_whoever_comes_with_an_earlier_turn(tmp_path, monkeypatch):
    """Else a newcomer would begin beside a visitor's second run."""
    monkeypatch.setattr(run_queue, "at_once", lambda: 1)
    homes = tmp_path / ".visitors"
    with open_run(homes / "a" / "2", {}), open_run(homes / "b" / "1", {}):
        with open_run(homes / "a" / "1", {}):
            run_queue._take(tmp_path / ".queue", "a/1")
            second = run_queue._take(tmp_path / ".queue", "a/2")
        assert run_queue._begin(second)
        newcomer = run_queue._take(tmp_path / ".queue", "b/1")
        assert newcomer.turn < second.turn
        assert run_queue._ahead(newcomer) == 1 and not run_queue._begin(newcomer)


def test_pages_take_turns_with_one_place_more_than_runs(home, monkeypatch):
    monkeypatch.setattr(run_queue, "at_once", lambda: 1)
    mine, other = home_of("a"), home_of("b")
    turns = [Turn(mine), Turn(mine), Turn(mine), Turn(other)]
    assert [turn.place() for turn in turns] == [0, 1, 2, 0]  # the other's goes before my second
    with open_run(other / "run", {}) as recorder:
        run = run_queue._take(*run_queue._queue_of(recorder.folder))
        assert not run_queue._begin(run)
    turns[0].end()
    assert [turns[1].place(), turns[2].place()] == [0, 1]
    for turn in turns:
        turn.end()
    assert not list(mine.iterdir()) and Turn(mine).place() == 0


def test_a_cap_on_runs_at_once_only_lowers(monkeypatch):
    monkeypatch.setattr(run_queue, "cores", lambda: 64)
    assert at_once() == 16
    monkeypatch.setenv("ADARANK_DEMO", "1")
    assert at_once() == 2
    monkeypatch.setattr(run_queue, "cores", lambda: 1)
    assert at_once() == 1
