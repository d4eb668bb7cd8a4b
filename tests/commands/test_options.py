"""What the commands share: bars, and where a run's folder may be."""

import io
import json
import os
from pathlib import Path

import pytest
import typer
from rich.console import Console

from adarank_core import AdaRankError
from adarank_core.__main__ import main
from adarank_core.commands import options
from adarank_core.commands.options import (
    Watch,
    output_folder,
    print_status,
    refuse_inputs,
    table,
    writable_folder,
    write,
)
from adarank_core.files import write_json
from adarank_core.runs.jobs import open_run, run_folder


def test_who_breaks_off_is_told_how_to_go_on(tmp_path, capsys):
    folder = tmp_path / "a run"
    with (
        pytest.raises(KeyboardInterrupt),
        open_run(folder, {}) as recorder,
        Watch(recorder, steps=4),
    ):
        raise KeyboardInterrupt
    assert f"goes on with --resume --output '{folder}'" in " ".join(capsys.readouterr().err.split())


def test_a_watch_records_everything_and_shows_progress(tmp_path):
    events = [
        {"event": "score", "arm": "adarank", "seed": 1, "done": 3, "total": 9},
        {"event": "step", "arm": "uniform", "seed": 0, "search": 1e-3, "step": 2, "train_loss": 1},
        {"event": "step", "arm": "uniform", "seed": 0, "step": 2, "train_loss": 0.25},
        {"event": "step", "arm": "uniform", "seed": 1, "step": 1, "train_loss": 1.5},
        {"event": "step", "arm": "uniform", "seed": 0, "step": 4, "train_loss": 0.125},
        {"event": "step", "step": 1, "train_loss": 1.5},
        {"event": "turn"},
    ]
    with open_run(tmp_path / "run", {}) as recorder, Watch(recorder, steps=4) as watch:
        for event in events:
            watch.record(event)
        assert watch.should_stop() is False and watch.folder == tmp_path / "run"
    rows = [(row.description, row.completed, row.total) for row in watch.bar.tasks]
    assert rows == [
        ("ranks of adarank seed 1", 3, 9),
        ("uniform learning rate 0.001 · train loss 1.000", 2, 4),
        ("uniform seed 0 · train loss 0.125", 4, 4),
        ("uniform seed 1 · train loss 1.500", 1, 4),
        ("run · train loss 1.500", 1, 4),
    ]
    kept = [
        {k: v for k, v in e.items() if k != "time"} for e in run_folder(tmp_path / "run").events
    ]
    assert kept[1:-1] == events


def test_a_watch_says_where_a_training_goes_on_or_that_it_begins_again(tmp_path, capsys):
    step = {"event": "step", "step": 89, "train_loss": 1.5}
    told = []
    for number, events in enumerate(([{"event": "resumed", "step": 88}, step, step], [step, step])):
        with (
            open_run(tmp_path / str(number), {}) as recorder,
            Watch(recorder, steps=120, goes_on=True) as watch,
        ):
            for event in events:
                watch.record(event)
        told.append(capsys.readouterr().err)
    assert told[0].count("going on from step 88 of 120") == 1 and "begins again" not in told[0]
    assert told[1].count("begins again") == 1


def test_progress_is_for_who_watches(monkeypatch, capsys):
    for watched in (True, False):
        console = Console(stderr=True, force_terminal=watched)
        monkeypatch.setattr(options, "on_error_stream", console)
        print_status("reading", 0.5)
        print_status("done")
        assert ("reading" in capsys.readouterr().err) == watched


def test_a_folder_in_use_is_refused(tmp_path):
    assert output_folder(tmp_path / "new", {}, resume=False) == tmp_path / "new"
    (tmp_path / "log.txt").touch()  # written by who starts the process
    assert output_folder(tmp_path, {}, resume=False) == tmp_path
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AdaRankError, match="is not empty"):
        output_folder(tmp_path, {}, resume=False)


@pytest.mark.parametrize(
    ("had", "asked", "fine"),
    [
        ('{"seed": 0, "rates": []}', {"seed": 0, "rates": []}, True),
        ('{"seed": 0}', {"seed": 0, "rates": []}, True),  # of an older version
        ('{"seed": 0}', {"seed": 0, "rates": [1]}, False),
        ('{"seed": 0, "rates": [1]}', {"seed": 0, "rates": []}, False),
        ('{"seed": 1}', {"seed": 0}, False),
        ('{"seed": 0, "arms": "a"}', {"seed": 0, "arms": "b"}, True),  # may differ
    ],
)
def test_a_run_is_resumed_with_what_it_was_asked_for(tmp_path, had, asked, fine):
    (tmp_path / "config.json").write_text(had)
    if fine:
        assert output_folder(tmp_path, asked, True, ("arms",)) == tmp_path
        return
    with pytest.raises(AdaRankError, match="resume with the same values"):
        output_folder(tmp_path, asked, True, ("arms",))


# Results


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: "", "it has no name"),
        (lambda folder: str(folder), "it is a folder"),
        (lambda folder: str(folder / "no" / "x.json"), "there is no such folder"),
        (lambda folder: str(folder / ("x" * 300)), "File name too long"),
        (lambda folder: os.mkfifo(folder / "pipe") or str(folder / "pipe"), "it is no file"),
        (lambda folder: str(folder / "a\0b"), "null"),
    ],
    ids=["empty", "folder", "nowhere", "long", "pipe", "zero"],
)
def test_a_result_that_cannot_be_written_is_refused_at_once(tmp_path, capsys, make, said):
    path = make(tmp_path)
    assert main(["score", "--sentence", "cat", "--model", "none", f"--json={path}"]) == 2
    error = capsys.readouterr().err
    assert "cannot be written" in error and said in error


@pytest.mark.parametrize("name", ["", "pipe", "pipe/x", "dangling", "z" * 300])
def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("dangling").symlink_to("nowhere")
    for words in (["finetune", "--task", "none.csv"], ["export", "--ranks", "none.json"]):
        assert main([*words, f"--output={name}"]) == 2
        said = capsys.readouterr().err
        assert "cannot be written (" in said if name else "has no name" in said


def test_a_read_only_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(AdaRankError, match="it is read-only"):
        options._check_writable(str(tmp_path / "x.json"))


def test_a_result_is_not_written_over_its_input(tmp_path, made_up, capsys):
    path, link = tmp_path / "scores.json", tmp_path / "link.json"
    path.write_text(json.dumps(made_up().to_dict()))
    link.symlink_to(path)
    before = path.read_bytes()
    for target in (path, link):
        assert main(["allocate", "--scores", str(path), "--json", str(target)]) == 2
        assert "which is read by this command" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_result_is_not_written_over_a_file_of_a_model_or_task(tmp_path, capsys):
    for name in ("config.json", "train.csv"):
        (tmp_path / name).write_text("{}")
        for inputs in (["--model", str(tmp_path), "--sentence", "a"], ["--task", str(tmp_path)]):
            assert main(["score", *inputs, "--json", str(tmp_path / name)]) == 2
            assert "which is read by this command" in capsys.readouterr().err
    refuse_inputs(str(tmp_path / "new.json"), tmp_path)
    write_json(tmp_path / "scores.json", {"format": "adarank-scores/1"})
    refuse_inputs(str(tmp_path / "scores.json"), tmp_path)  # a result that was written there before


@pytest.mark.parametrize("columns", ["0", "1", "-5", "x"])
def test_a_table_is_shown_however_narrow_a_terminal_says_it_is(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    table("ranks", ("module", "rank"), [("query", "8")])
    assert "query" in capsys.readouterr().out


def test_only_a_terminal_cuts_a_long_name_in_two(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    for is_terminal in ("0", "1"):
        monkeypatch.setenv("TTY_COMPATIBLE", is_terminal)
        table("ranks", ("rank", "name"), [("8", "query" * 20)])
        assert ("query" * 20 in capsys.readouterr().out) == (is_terminal == "0")


def test_what_is_said_has_no_command_for_a_terminal(tmp_path, capsys):
    with open_run(tmp_path, {}) as recorder, Watch(recorder, 1) as watch:
        watch.record({"event": "step", "arm": "\x1b[31mred.json", "step": 1, "train_loss": 0.5})
    print_status("in \x1b[31mred")
    said = capsys.readouterr().err
    assert "\x1b[31m" not in said and said.count("\\x1b[31mred") >= 2


def test_a_device_stays_one(made_up, tmp_path):
    write({"rank": 8}, "/dev/null")
    assert Path("/dev/null").is_char_device()


NAMES = ("query[/red]", "[bold]key[/bold]", "\x1b[31mred\x1b[0m", "caf\udce9", "± × é")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_any_name_is_shown_as_text_on_any_terminal(monkeypatch, encoding):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr("sys.stdout", screen)
    table("± error", ("module ·", "rank"), [(name, "1") for name in NAMES])
    screen.flush()
    shown = screen.buffer.getvalue()
    assert b"\x1b" not in shown and b"query[/red]" in shown and b"[bold]key[/bold]" in shown
    assert b"\\x1b[31mred" in shown and b"caf\\udce9" in shown
    if encoding == "ascii":
        assert b"+/- x \\xe9" in shown and b"module -" in shown


NO_FOLDERS = {
    "a file": (lambda path: path.write_text("mine"), "it is a file"),
    "in a file": (lambda path: path.parent.write_text("mine"), "it is a file"),
    "a pipe": (os.mkfifo, "it is a named pipe"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "it is a link to nothing"),
    "a link to a file": (lambda path: path.symlink_to(__file__), "it is a file"),
}


@pytest.mark.parametrize("resume", [[], ["--resume"]], ids=str)
@pytest.mark.parametrize("command", ["finetune", "compare"])
@pytest.mark.parametrize("kind", NO_FOLDERS)
def test_what_is_no_folder_is_refused_before_work_starts(refusal, tmp_path, kind, command, resume):
    make, why = NO_FOLDERS[kind]
    make(tmp_path / "below" / "run" if kind == "in a file" else tmp_path / "run")
    output = tmp_path / "below" / "run" if kind == "in a file" else tmp_path / "run"
    words = ["--uniform-rank", 2] if command == "finetune" else []
    said = refusal(command, "--task", "docstrings", *words, "--output", output, *resume)
    assert "cannot be written" in said and "give another folder" in said
    assert why in said.replace("'below' is", "it is")


def test_a_read_only_folder_is_refused_before_work_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # root may all
    with pytest.raises(typer.BadParameter, match="is read-only"):
        writable_folder(str(tmp_path / "not" / "yet"))


def test_a_link_to_a_folder_is_a_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with open_run(output_folder(tmp_path / "run", {"seed": 0}, resume=False), {"seed": 0}):
        pass
    assert (tmp_path / "elsewhere" / "config.json").exists()
    assert run_folder(tmp_path / "run").state == "finished"
