import time

import pytest

from adarank_core.runs.events import arm_facts, finished_results, last_event, read_events


def event(kind, arm="uniform", seed=0, **more):
    return {"event": kind, "arm": arm, "seed": seed, **more}


def plan(arm, seed):
    return event("plan", arm, seed, budget={"lora_parameters": 100})


def test_reading_goes_on_where_the_last_one_ended(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_events(path) == ((), 0)  # nothing there yet
    path.write_bytes(b'{"event": "a"}\n{"event": "b"}')
    events, offset = read_events(path)
    assert events == ({"event": "a"},)
    assert read_events(path, offset) == ((), offset)
    with path.open("ab") as file:
        file.write(b'\n[1]\n{}\n{"event": "c"}\n')
    events, offset = read_events(path, offset)
    assert events == ({"event": "b"}, {"event": "c"})
    assert read_events(path, offset) == ((), offset) and offset == path.stat().st_size
    assert [event["event"] for event in read_events(path)[0]] == ["a", "b", "c"]


@pytest.mark.parametrize("content", [b"", b"torn", b"\xff\n3\n", b"[" * 100_000 + b"\n"])
def test_a_file_without_events_has_none(tmp_path, content):
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    assert read_events(path)[0] == () and last_event(path) is None
    assert last_event(tmp_path / "missing") is None


def test_results_of_a_resumed_run_count_once():
    about = {"lora_parameters": 100, "test_loss": 0.5}
    events = [
        event("result", seed=0, allocation_seconds=2.0, **about),
        event("result", seed=0, allocation_seconds=2.0, **about),
        event("result", seed=1, allocation_seconds=4.0, **about),
    ]
    found = finished_results(events)["uniform"]
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert found["allocation_seconds"] == 3.0
    assert found["runs"][0] == {"seed": 0, "test_loss": 0.5}
    assert arm_facts([plan("uniform", 0)]) == {"uniform": {"lora_parameters": 100}}


def test_an_arm_that_failed_is_told_until_it_is_tried_again():
    failed = event("arm-failed", "adarank", 1, message="memory ran out")
    events = [event("started"), {**plan("adarank", 1), "residual": 12}, failed]
    facts = arm_facts(events)["adarank"]
    assert facts["failed"] == "seed 1: memory ran out"
    assert facts["residual"] == 12
    for again in (event("started"), plan("adarank", 1)):
        assert "failed" not in arm_facts([*events, again])["adarank"]
    assert "failed" in arm_facts([*events, plan("adarank", 0)])["adarank"]  # another seed's


def test_a_chosen_learning_rate_and_its_search_are_known():
    losses = {"0.001": 0.5, "0.005": 0.6}
    chosen = event("chosen", learning_rate=0.001, search_seconds=20.0, validation_loss=losses)
    assert arm_facts([event("started"), chosen]) == {
        "uniform": {"learning_rate": 0.001, "search_seconds": 20.0}
    }


@pytest.mark.parametrize("line", [b"\n", b" \n", b"x\n", b"{}\n", b'{"event": 1}\n'], ids=str)
def test_what_is_no_event_is_not_read_for_long(tmp_path, line):
    """A hundredth of what a file may have: it took 10 seconds and more."""
    path, last = tmp_path / "events.jsonl", b'{"event": "finished"}\n'
    path.write_bytes(b'{"event": "started"}\n' + line * (10**6 // len(line)) + last)
    began = time.perf_counter()
    events, offset = read_events(path)
    assert last_event(path)["event"] == "finished"
    assert time.perf_counter() - began < 1.5
    assert events == ({"event": "started"},) and offset == path.stat().st_size
