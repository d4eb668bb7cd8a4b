"""Processes at work for another: they work at once, and nobody is left behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adarank_core import workers
from adarank_core.workers import run_workers, threads_each

ROOT = Path(workers.__file__).resolve().parents[1]
CONNECTED = (
    "import time; from adarank_core.workers import connect_to_parent; "
    "tell, asked = connect_to_parent(); "
)


def script(code: str) -> list[str]:
    return [sys.executable, "-c", CONNECTED + code]


def steps_until(condition: str) -> str:
    """Return code that tells a step every hundredth of a second, for 20 s at most."""
    return (
        "n = 0\n"
        f"while n < 2000 and not ({condition}):\n"
        "    n += 1; tell({'event': 'step', 'step': n}); time.sleep(0.01)\n"
        "tell({'event': 'end', 'asked': asked()})"
    )


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_events_of_all_processes_are_passed_on_and_nothing_else():
    events = []
    noise = "print('loading'); print('[1]'); print('{\"a\": 1}'); "
    commands = [script(f"{noise}tell({{'event': 'step', 'seed': {n}}})") for n in range(3)]
    assert run_workers(commands, events.append, lambda: False)
    assert sorted(event["seed"] for event in events) == [0, 1, 2]


def test_processes_work_at_the_same_time():
    events = []
    commands = [script(steps_until("n == 30")) for _ in range(2)]
    assert run_workers(commands, lambda event: events.append(event["event"]), lambda: False)
    assert events.count("end") == 2 and "end" not in events[:31]


def test_who_asks_to_stop_stops_every_process_softly():
    events, began = [], time.monotonic()
    commands = [script(steps_until("asked()")) for _ in range(2)]
    assert not run_workers(commands, events.append, lambda: len(events) > 5)
    assert [event["asked"] for event in events if event["event"] == "end"] == [True, True]
    assert time.monotonic() - began < 10


def test_a_process_that_is_killed_is_no_end_of_the_others():
    events = []
    killed = script("import os; tell({'event': 'step'}); os.kill(os.getpid(), 9)")
    commands = [killed, script(steps_until("n == 30"))]
    assert run_workers(commands, events.append, lambda: False)
    assert events[-1] == {"event": "end", "asked": False}


def test_an_error_here_ends_every_process():
    processes = []

    def on_event(event):
        processes.append(event["step"])
        raise OSError("no space left")

    code = "import os; tell({'event': 'step', 'step': os.getpid()}); time.sleep(20)"
    began = time.monotonic()
    with pytest.raises(OSError, match="no space"):
        run_workers([script(code)], on_event, lambda: False)
    assert time.monotonic() - began < 8 and not is_alive(processes[0])


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    work = (
        "import os, pathlib\n"
        f"pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()\n"
        "time.sleep(30)"  # as long as a model loads, and nothing is told
    )
    parent = "from adarank_core.workers import run_workers; "
    parent += f"run_workers({[script(work)] * 2!r}, print, lambda: False)"
    started = subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT)
    try:
        wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    processes = [int(path.name) for path in tmp_path.iterdir()]
    wait_for(lambda: not any(map(is_alive, processes)), seconds=5)


def test_threads_are_shared_out(monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [threads_each(count) for count in (1, 2, 3, 40)] == [16, 8, 5, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # what this process may use itself
    assert [threads_each(count) for count in (1, 2, 8)] == [4, 2, 1]
    told = []
    code = "import os; tell({'event': 'threads', 'count': os.environ['OMP_NUM_THREADS']})"
    run_workers([script(code)], told.append, lambda: False, threads=3)
    assert told[0]["count"] == "3"


def test_gpus_are_dealt_out(monkeypatch):
    monkeypatch.setattr(workers, "gpus", lambda: ["0", "2"])
    told = []
    code = "import os; tell({'event': 'gpu', 'name': os.environ['CUDA_VISIBLE_DEVICES']})"
    run_workers([script(code)] * 3, told.append, lambda: False)
    assert sorted(event["name"] for event in told) == ["0", "0", "2"]
