import doctest
import json
from pathlib import Path

import pytest

from adarank_core.runs.jobs import Run
from pages.parts.runs import run_table
from pages.parts.shared import state

NONE = {"verdict": "", "effect": ""}


def test_examples():
    assert doctest.testmod(run_table).failed == 0


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([], "No runs yet"),
        (["starting", "running", "queued"], "3 runs: 2 at work, 1 queued"),
        (["failed", "interrupted"], "2 runs: 1 interrupted, 1 failed"),
        (["cancelled"] * 1200, "1,200 runs, and nothing is at work"),
    ],
)
def test_the_title_tells_what_may_want_an_eye(states, said):
    assert run_table.finding(states) == said


def test_a_row_has_own_ranks_for_a_plan_of_several():
    run = Run(Path("x-finetune"), {"plan": {"ranks": {"a": 4, "b": 2}}, "seed": 3}, "finished")
    row = run_table.row(run, NONE, ())
    assert (row["kind"], row["arms"], row["seeds"]) == ("finetune", "own ranks", "3")


def test_a_study_stands_where_arms_do():
    config = {"command": "lab", "study": "reset", "task": "docstrings", "seed": 3}
    row = run_table.row(Run(Path("20261124-230929-000001-lab"), config, "finished"), NONE, ())
    assert (row["kind"], row["arms"], row["seeds"]) == ("lab", "reset", "3")


def test_every_word_has_to_occur_anywhere_in_the_row():
    rows = {"a": {"task": "trec", "tags": "Draft"}, "b": {"task": "trec", "tags": ""}}
    assert run_table.matching(rows, "TREC") == ["a", "b"]
    assert run_table.matching(rows, "trec draft") == ["a"]
    assert run_table.matching(rows, "trec final") == []


def test_a_row_has_the_settings_as_numbers():
    settings = {"steps": 1500, "batch_size": 16, "learning_rate": 0.002}
    config = {"average_rank": 7.5, "settings": settings}
    row = run_table.row(Run(Path("x-compare"), config, "finished"), NONE, ())
    assert [row[name] for name in ("rank", "steps", "batch", "rate")] == [7.5, 1500, 16, 0.002]
    assert set(run_table.COLUMNS) == set(row)
    assert run_table.matching({"a": row}, "1500 7.5") == ["a"]


def test_groups_come_by_interest_by_size_and_by_word():
    cells = [("queued (2)", 16.0), ("failed", 8.0), ("running", None), ("queued (1)", 16.0)]
    rows = {at: {"state": state, "rank": rank} for at, (state, rank) in enumerate(cells)}
    assert list(run_table.groups(rows, "state").items()) == [
        ("running", 1),
        ("queued", 2),
        ("failed", 1),
    ]
    assert list(run_table.groups(rows, "rank").items()) == [("8", 1), ("16", 2)]


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ('{"command": ["python", "a b"]}', "python 'a b'"),
        ("{", ""),
        ("[]", ""),
        ('{"command": [1]}', ""),
        ('{"command": null}', ""),
    ],
)
def test_the_command_is_a_shell_line(tmp_path, content, command):
    (tmp_path / "command.json").write_text(content)
    assert run_table.command(Run(tmp_path, {}, "finished")) == command


def test_settings_that_one_run_alone_has_differ_too():
    table = run_table.differing({"a": 1, "b": {"c": None, "d": [1, 2]}}, {"a": 1, "b": {"d": [1]}})
    assert table.values.tolist() == [["d", "1, 2", "1"]]


def test_equal_arms_of_two_runs_lie_below_each_other():
    arm = {
        "lora_parameters": 9,
        "allocation_seconds": 0.0,
        "runs": [{"seed": 0, "test_loss": 0.5, "test_accuracy": 0.75}],
    }
    table = run_table.results({"A": {"uniform": arm, "adarank": arm}, "B": {"adarank": arm}})
    assert list(zip(table["arm"], table["run"], strict=True)) == [
        ("uniform", "A"),
        ("adarank", "A"),
        ("adarank", "B"),
    ]
    assert run_table.results({"A": {}, "B": {}}).empty


def test_the_overlay_has_a_curve_for_every_arm_of_both():
    run = state.example_run()
    figure = run_table.overlay({"A": run, "B": run})
    names = [trace.name for trace in figure.data]
    assert names == [f"{run_name}: {arm}" for run_name in "AB" for arm in run.config["arms"]]
    first, second = figure.data[0], figure.data[len(run.config["arms"])]
    assert first.line.color == second.line.color
    assert first.marker.symbol != second.marker.symbol


def test_a_mean_has_only_the_seeds_that_came_far(tmp_path):
    event = {"event": "evaluation", "arm": "uniform"}
    values = [(0, 1, 1.0), (0, 2, 0.5), (1, 1, 3.0)]
    lines = [
        json.dumps({**event, "seed": seed, "step": step, "validation_loss": loss})
        for seed, step, loss in values
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    (trace,) = run_table.overlay({"A": Run(tmp_path, {}, "running")}).data
    assert list(trace.y) == [1.0, 0.5]


def test_a_name_is_no_markup_in_a_figure(tmp_path):
    event = {"event": "evaluation", "arm": "<b>x</b>", "seed": 0, "step": 1, "validation_loss": 1}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    (trace,) = run_table.overlay({"A": Run(tmp_path, {}, "running")}).data
    assert "<b>" not in trace.name + trace.hovertemplate


def test_losses_of_a_fine_tuning(tmp_path):
    events = [
        {"event": "started"},
        {"event": "step", "step": 1, "train_loss": 1.5},
        {"event": "step", "step": 2, "train_loss": 1.25},
        {"event": "started"},
        {"event": "resumed", "step": 1},
        {"event": "step", "step": 2, "train_loss": 1.0},
        {"event": "evaluation", "step": 2, "validation_loss": 0.75},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    train, validation = run_table.loss_curves(Run(tmp_path, {}, "finished")).data
    assert (list(train.x), list(train.y)) == ([1, 2], [1.5, 1.0])
    assert list(validation.y) == [0.75]
