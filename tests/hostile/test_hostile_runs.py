"""Run folders that came from anywhere: damaged ones are shown as damaged, and break nothing.

One line a case: what is written into the folder, and what is shown of it.
"""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core import AdaRankError
from adarank_core.comparison.judging import verdict_of
from adarank_core.files import runs_folder
from adarank_core.runs import jobs, store
from adarank_core.runs.curves import curve_table
from adarank_core.runs.events import arm_facts, finished_results, last_event
from adarank_core.runs.progress import ComparisonWork, seconds_expected
from pages.parts.compare.legend import arm_sentences
from pages.parts.compare.outcome import read_verdict
from pages.parts.compare.run_status import progress_line, run_label
from pages.parts.runs import run_table
from pages.parts.shared.link import LINK
from pages.parts.shared.state import plain

APP = str(Path(__file__).resolve().parents[2] / "app.py")
NAME = "20261124-230929-000001-compare"
SETTINGS = {"steps": 10, "batch_size": 32, "learning_rate": 0.001}
CONFIG = {
    "command": "compare",
    "model": "embedded",
    "task": "docstrings",
    "arms": ["uniform", "adarank"],
    "seeds": [0, 1],
    "average_rank": 2.0,
    "trials": 8,
    "settings": SETTINGS,
}
PAIR = {"arm": "uniform", "seed": 0, "time": 5.0}
STEP = {"event": "step", **PAIR, "step": 1, "train_loss": 1.5}
EVALUATION = {"event": "evaluation", **PAIR, "step": 1, "validation_loss": 1.25}
PLAN = {"event": "plan", **PAIR, "budget": {"lora_parameters": 9}, "residual": 0}
SCORE = {"event": "score", **PAIR, "arm": "adarank", "done": 1, "total": 8}
RESULT = {"event": "result", **PAIR, "test_loss": 0.5, "lora_parameters": 9}
RESULT |= {"allocation_seconds": 0.5, "train_seconds": 2.0, "steps": 10}
CHOSEN = {"event": "chosen", **PAIR, "learning_rate": 0.01, "search_seconds": 2.0}
DEEP = b"[" * 100_000
ARMS = {
    arm: {
        "lora_parameters": 9,
        "allocation_seconds": 0.5,
        "runs": [{"seed": seed, "test_loss": loss * (1 + seed)} for seed in (0, 1)],
    }
    for arm, loss in (("uniform", 0.5), ("adarank", 0.4))
}
VERDICT = verdict_of("t", "m", ARMS).to_dict()


@pytest.fixture(autouse=True)
def in_time():
    def late(*_):
        raise TimeoutError("not done in time")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(path, content):
    """Write anything where a file should be: bytes, JSON, or what a function makes there."""
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def made(folder, **files):
    """Make a finished comparison's folder with other files in it; None leaves one out."""
    ended = b"".join(json.dumps(event).encode() + b"\n" for event in (STEP, {"event": "finished"}))
    folder.mkdir(parents=True)
    for name, content in ({"config": CONFIG, "verdict": VERDICT, "events": ended} | files).items():
        if content is not None:
            put(folder / f"{name}.json{'l' * (name == 'events')}", content)
    return folder


def sparse(path):
    with path.open("wb") as file:
        file.truncate(10**10)


NO_FILES = {
    "pipe": (os.mkfifo, "it is a named pipe"),
    "folder": (Path.mkdir, "it is a folder"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "huge": (sparse, "MB are read"),
}
CONFIGS = {
    **NO_FILES,
    "missing": (None, "No such file"),
    "empty": (b"", "not valid JSON"),
    "cut": (b'{"command": "comp', "not valid JSON"),
    "binary": (b"\x80\x00\xff", "not valid JSON"),
    "deep": (DEEP, "not valid JSON"),
    "a list": ([1], "must be a valid dictionary"),
    "a number": (3, "must be a valid dictionary"),
    "null": (b"null", "must be a valid dictionary"),
    "twice": (b'{"model": "a", "model": "b"}', "twice"),
    "infinite rank": (b'{"average_rank": Infinity}', "finite"),
    "no arms": ({k: v for k, v in CONFIG.items() if k != "arms"}, "'arms' is missing"),
    "no seeds": ({k: v for k, v in CONFIG.items() if k != "seeds"}, "'seeds' is missing"),
    "no settings": ({k: v for k, v in CONFIG.items() if k != "settings"}, "'settings' is missing"),
    "no task": ({k: v for k, v in CONFIG.items() if k != "task"}, "'task' is missing"),
    "empty arms": ({**CONFIG, "arms": []}, "'arms'"),
    "arms a string": ({**CONFIG, "arms": "uniform"}, "'arms'"),
    "arm a list": ({**CONFIG, "arms": [["uniform"]]}, "arm 1"),
    "arm a surrogate": ({**CONFIG, "arms": ["\ud800"]}, "arm 1"),
    "empty seeds": ({**CONFIG, "seeds": []}, "'seeds'"),
    "seed a word": ({**CONFIG, "seeds": ["0"]}, "seed 1"),
    "seed half": ({**CONFIG, "seeds": [0.5]}, "seed 1"),
    "seed null": ({**CONFIG, "seeds": [None]}, "seed 1"),
    "model null": ({**CONFIG, "model": None}, "'model'"),
    "model a list": ({**CONFIG, "model": []}, "'model'"),
    "task a number": ({**CONFIG, "task": 3}, "'task'"),
    "task a surrogate": ({**CONFIG, "task": "\udce9"}, "'task'"),
    "settings a word": ({**CONFIG, "settings": "x"}, "'settings'"),
    "no steps": ({**CONFIG, "settings": {"batch_size": 32}}, "'steps' is missing"),
    "0 steps": ({**CONFIG, "settings": {**SETTINGS, "steps": 0}}, "'steps'"),
    "too many steps": ({**CONFIG, "settings": {**SETTINGS, "steps": 10**30}}, "'steps'"),
    "batch a word": ({**CONFIG, "settings": {**SETTINGS, "batch_size": "32"}}, "'batch_size'"),
    "rate below 0": ({**CONFIG, "settings": {**SETTINGS, "learning_rate": -1}}, "'learning_rate'"),
    "rates a number": ({**CONFIG, "learning_rates": 3}, "'learning_rates'"),
    "a rate null": ({**CONFIG, "learning_rates": [None]}, "learning_rate"),
    "side by side 0": ({**CONFIG, "side_by_side": 0}, "'side_by_side'"),
    "average rank a word": ({**CONFIG, "average_rank": "2"}, "'average_rank'"),
    "plan a list": ({**CONFIG, "plan": []}, "'plan'"),
    "versions a list": ({**CONFIG, "versions": []}, "'versions'"),
    "command a list": ({**CONFIG, "command": []}, "'command'"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_is_not_right_is_a_damaged_run(home, case):
    content, part = CONFIGS[case]
    folder = made(runs_folder() / NAME, config=content)
    run = jobs.run_folder(folder)
    assert (run.state, run.config) == ("damaged", {})
    assert part in run.message and run.message.isprintable() and str(home) not in run.message
    assert run_table.row(run, store.summary(run), ())["state"] == "damaged"
    assert "damaged" in run_label(run) and run_table.kind(run) == "compare"
    assert read_verdict(run).arms and len(run.events) == 2  # what is left
    assert [one.folder.name for one in jobs.runs()] == [NAME]


@pytest.mark.parametrize("kind", NO_FILES)
def test_events_that_are_no_plain_file_are_a_damaged_run(home, kind):
    make, part = NO_FILES[kind]
    run = jobs.run_folder(made(runs_folder() / NAME, events=make))
    assert run.state == "damaged" and part in run.message and run.events == ()
    assert "'events.jsonl'" in run.message


EVENTS = {
    "no object": b"[1]",
    "binary": b"\xff\x00",
    "deep": DEEP,
    "kind a list": {"event": []},
    "kind null": {"event": None},
    "kind a surrogate": {"event": "\ud800"},
    "step without step": {"event": "step", **PAIR},
    "step a word": {**STEP, "step": "1"},
    "step below 0": {**STEP, "step": -1},
    "step too large": {**STEP, "step": 10**400},
    "time null": {**STEP, "time": None},
    "time infinite": b'{"event": "step", "arm": "uniform", "seed": 0, "time": Infinity, "step": 1}',
    "loss a word": {**STEP, "train_loss": "low"},
    "loss not a number": b'{"event": "step", "step": 1, "train_loss": NaN}',
    "speed a list": {**STEP, "examples_per_second": []},
    "memory a word": {**STEP, "memory_mb": "much"},
    "arm a list": {**STEP, "arm": ["uniform"]},
    "arm null": {**STEP, "arm": None},
    "arm without seed": {k: v for k, v in STEP.items() if k != "seed"},
    "seed a list": {**STEP, "seed": []},
    "search a word": {**STEP, "search": "0.1"},
    "evaluation without step": {"event": "evaluation", **PAIR, "validation_loss": 1.0},
    "validation loss a list": {**EVALUATION, "validation_loss": [1.0]},
    "plan without budget": {"event": "plan", **PAIR},
    "plan without arm": {"event": "plan", "budget": {}},
    "budget a list": {**PLAN, "budget": []},
    "size a word": {**PLAN, "budget": {"lora_parameters": "9"}},
    "residual a word": {**PLAN, "residual": "none"},
    "score of 0": {**SCORE, "total": 0},
    "score without done": {k: v for k, v in SCORE.items() if k != "done"},
    "score a word": {**SCORE, "done": "1"},
    "chosen without rate": {k: v for k, v in CHOSEN.items() if k != "learning_rate"},
    "chosen a word": {**CHOSEN, "search_seconds": "2"},
    "failed without message": {"event": "arm-failed", **PAIR},
    "failed with a list": {"event": "failed", "message": []},
    "place a word": {"event": "queued", "place": "2"},
    "no place": {"event": "queued"},
    "result without size": {k: v for k, v in RESULT.items() if k != "lora_parameters"},
    "result without loss": {k: v for k, v in RESULT.items() if k != "test_loss"},
    "result's seconds a word": {**RESULT, "allocation_seconds": "2"},
    "result's seed null": {**RESULT, "seed": None},
    "result in 0 steps": {**RESULT, "steps": 0},
}


@pytest.mark.parametrize("case", EVENTS)
def test_an_event_that_is_not_of_its_kind_is_passed_over(tmp_path, case):
    content = EVENTS[case]
    bad = content if isinstance(content, bytes) else json.dumps(content).encode()
    lines = [json.dumps(e).encode() for e in (PLAN, STEP)]
    events = b"\n".join([bad, lines[0], bad, lines[1], bad, b""])
    run = jobs.run_folder(made(tmp_path / NAME, events=events))
    assert run.events == (PLAN, STEP)
    assert run.state == ("damaged" if case == "binary" else "interrupted")
    assert last_event(run.folder / "events.jsonl") == STEP


ODD = {
    "beyond the end": {**STEP, "step": 10**9},
    "scored twice": {**SCORE, "done": 99},
    "backwards": {**STEP, "step": 5, "time": 1.0},
    "another arm": {**STEP, "arm": "zork"},
    "another seed": {**STEP, "seed": 77},
    "no arm": {"event": "step", "step": 3},
    "resumed alone": {"event": "resumed", "step": 3},
    "result of nobody": {"event": "result", "test_loss": 1.0},
    "another search": {**STEP, "search": 0.5},
    "unknown": {"event": "zork", "arm": "uniform"},
    "no time": {k: v for k, v in STEP.items() if k != "time"},
    "failed arm": {"event": "arm-failed", **PAIR, "message": "www.example.org"},
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_but_whole_is_counted_within_bounds(tmp_path, case):
    told = (PLAN, SCORE, STEP, EVALUATION, ODD[case], RESULT, CHOSEN, ODD[case])
    lines = b"".join(json.dumps(event).encode() + b"\n" for event in told)
    run = jobs.run_folder(made(tmp_path / NAME, events=lines))
    assert len(run.events) == len(told)
    work = ComparisonWork(run.config)
    for event in run.events:
        work.add(event)
        assert 0 <= work.progress().share <= 1 and progress_line(work.progress())
    assert set(arm_sentences(run.config, run.events)) == {"uniform", "adarank"}
    assert arm_facts(run.events)["uniform"] and finished_results(run.events)["uniform"]
    for metric in ("train_loss", "validation_loss"):
        assert len(curve_table(run.events, metric)) > 0
    run_table.loss_curves(run)


FIRST = VERDICT["comparisons"][0]
VERDICTS = {
    **NO_FILES,
    "empty": (b"", "not valid JSON"),
    "cut": (json.dumps(VERDICT).encode()[:99], "not valid JSON"),
    "deep": (DEEP, "not valid JSON"),
    "a list": ([], "not a verdict file"),
    "no arms": ({**VERDICT, "arms": {}, "comparisons": []}, "no arms"),
    "arms a list": ({**VERDICT, "arms": []}, "'arms'"),
    "no runs": ({**VERDICT, "arms": {"uniform": {**ARMS["uniform"], "runs": []}}}, "'runs'"),
    "no loss": ({**VERDICT, "arms": {"u": {**ARMS["uniform"], "runs": [{"seed": 0}]}}}, "loss"),
    "no such arm": ({**VERDICT, "comparisons": [{**FIRST, "arm": "zork"}]}, "none of its arms"),
    "half an interval": ({**VERDICT, "comparisons": [{**FIRST, "ci_low": None}]}, "go together"),
    "no p-value": ({**VERDICT, "comparisons": [{**FIRST, "p_value": None}]}, "go together"),
    "another word": ({**VERDICT, "comparisons": [{**FIRST, "verdict": "best"}]}, "'verdict'"),
    "another metric": ({**VERDICT, "comparisons": [{**FIRST, "metric": "auc"}]}, "lacks"),
    "model null": ({**VERDICT, "model": None}, "'model'"),
    "a surrogate": ({**VERDICT, "failed": {"eva": "\ud800"}}, "failed"),
}


@pytest.mark.parametrize("case", [case for case in VERDICTS if case != "dangling"])
def test_a_verdict_that_is_not_right_is_one_sentence(home, case):
    content, part = VERDICTS[case]
    run = jobs.run_folder(made(runs_folder() / NAME, verdict=content))
    with pytest.raises(AdaRankError) as caught:
        read_verdict(run)
    assert part in str(caught.value) and str(home) not in str(caught.value)
    if case != "no arms":
        assert store.summary(run) == {"verdict": "", "effect": ""}
    assert seconds_expected(CONFIG, [run]) is None


@pytest.mark.parametrize(
    "content",
    [
        *(make for make, _ in NO_FILES.values()),
        b"",
        [],
        {},
        {"command": "rm"},
        {"command": [3]},
        {"command": ["\ud800"]},
    ],
)
def test_a_command_that_is_not_right_is_none(tmp_path, content):
    folder = made(tmp_path / NAME, command=content, tags=content)
    assert jobs.start_command(folder) == [] and store.tags(folder) == ()
    assert run_table.command(jobs.run_folder(folder)) == ""


def test_a_log_that_is_a_pipe_is_not_waited_for(tmp_path):
    folder = made(tmp_path / NAME, events=None, command={"command": ["python"]})
    os.mkfifo(folder / "log.txt")
    assert jobs.run_folder(folder).state == "starting"


# On the pages


def opened(page, run=None):
    at = AppTest.from_file(APP, default_timeout=60).run()
    if run is not None:
        at.session_state["compare_run"] = run
    at.switch_page(f"pages/{page}.py").run()
    assert not at.exception
    return at


ON_PAGES = {
    "config missing": {"config": None},
    "config a pipe": {"config": os.mkfifo},
    "config without arms": {"config": CONFIGS["no arms"][0]},
    "events a folder": {"events": Path.mkdir},
    "events binary": {"events": b"\xff\n\x00\n"},
    "all gone": {"config": None, "events": None, "verdict": None},
    "verdict cut": {"verdict": VERDICTS["cut"][0]},
    "verdict without arms": {"verdict": VERDICTS["no arms"][0]},
    "a link for a name": {"config": {**CONFIG, "model": "www.example.org", "task": "a@b.org"}},
}


@pytest.mark.parametrize("case", ON_PAGES)
def test_a_damaged_run_breaks_no_page(home, case):
    made(runs_folder() / NAME, **ON_PAGES[case])
    made(runs_folder() / NAME.replace("1-c", "2-c"))  # somebody else's
    at = opened("compare", NAME)
    if jobs.run_folder(runs_folder() / NAME).state == "damaged":
        assert any("folder is damaged" in error.value for error in at.error)
    at = opened("runs")
    assert at.title[0].value.startswith("1 run" if case == "all gone" else "2 runs")
    at.session_state["runs_selected"] = [NAME]
    at.run()
    assert not at.exception


BAD_ADDRESSES = [
    *(("", "seed", value) for value in ("inf", "nan", "1" + "0" * 400, "-1", "x", "", "\ufffd")),
    ("", "seed", "2.5"),
    ("", "seed", ["1", "2"]),
    ("", "rank", "1e400"),
    ("", "text", ""),
    ("", "task", "no such task"),
    ("", "model", "\0"),
    ("", "trials", "inf"),
    ("", "trials", ""),
    ("ranks", "alpha", ""),
    ("ranks", "min", "inf"),
    ("ranks", "max", "9" * 5000),
    ("ranks", "temperature", "nan"),
    ("ranks", "budget", "LoRA parameters"),
    ("ranks", "parameters", "inf"),
    *(("compare", "seed", value) for value in ("inf", "")),
    *(("runs", "rank", value) for value in ("-inf", "\ufffd")),
    *(("learn", "step", value) for value in ("Zork", "", "0", "\ufffd")),
]


@pytest.mark.parametrize(("page", "key", "value"), BAD_ADDRESSES)
def test_what_an_address_cannot_give_is_passed_over_and_said(home, page, key, value):
    at = AppTest.from_file(APP, default_timeout=60)
    if page:
        at.switch_page(f"pages/{page}.py")
    at.query_params[key] = value
    at.run()
    assert not at.exception
    assert any("in the address cannot be chosen" in caption.value for caption in at.caption)
    assert key not in at.query_params


@pytest.mark.parametrize("page", ["explore", "ranks", "compare", "runs", "learn"])
def test_no_widget_takes_a_value_from_the_address_unchecked(home, page):
    at = opened(page)
    kinds = (at.selectbox, at.number_input, at.slider, at.button_group)
    protos = [getattr(one, "proto", None) for kind in kinds for one in kind]
    assert not any(getattr(proto, "query_param_key", "") for proto in protos)
    at = AppTest.from_file(APP, default_timeout=60)
    at.switch_page(f"pages/{page}.py")
    at.query_params |= dict.fromkeys(LINK, "\0")
    at.run()
    assert not at.exception
    (said,) = [one.value for one in at.caption if "in the address cannot be chosen" in one.value]
    assert all(f"{plain(name)}=" in said for name in LINK)


def test_a_hanging_pattern_in_an_upload_is_one_sentence(home):
    at = opened("ranks")
    at.session_state["beside"] = "a file"
    at.run()
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": "(.|.)*[0-9]"}
    (uploader,) = [one for one in at.file_uploader if one.key == "beside_file"]
    began = time.monotonic()
    uploader.set_value(("adapter_config.json", json.dumps(config).encode(), "application/json"))
    at.run()
    assert not at.exception and time.monotonic() - began < 20
    assert "too long" in at.error[0].value
