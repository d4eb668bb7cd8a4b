"""The archive: tags, deletion and its undoing, zips, the word that a list shows."""

import json
import os
import time
import zipfile

import pytest

from adarank_core import AdaRankError
from adarank_core.comparison.judging import verdict_of
from adarank_core.files import write_json
from adarank_core.runs import store
from adarank_core.runs.jobs import Run, cancel, new_run_folder, open_run, run_folder, runs, start
from adarank_core.runs.store import (
    delete,
    deleted,
    empty,
    restore,
    set_tags,
    summary,
    tags,
    write_zip,
)

ASKED = {
    "command": "compare",
    "model": "embedded",
    "task": "docstrings",
    "arms": ["uniform"],
    "seeds": [0],
    "average_rank": 2.0,
    "settings": {"steps": 10, "batch_size": 32},
}


def made(parent, name="20261124-100000-000000-compare", **files):
    """Make a finished run with files of its own."""
    folder = parent / name
    with open_run(folder, ASKED):
        for path, content in files.items():
            (folder / path).write_text(content)
    return folder


# Tags


def test_tags_are_kept_and_replaced(tmp_path):
    folder = made(tmp_path)
    assert tags(folder) == ()
    set_tags(folder, [" thesis ", "Kapitel 2, größer", "thesis", "x" * 40])
    assert tags(folder) == ("thesis", "Kapitel 2, größer", "x" * 40)
    set_tags(folder, ("again",))
    assert tags(folder) == ("again",)
    set_tags(folder, [])
    assert tags(folder) == ()
    assert run_folder(folder).state == "finished"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["x" * 41], "40 characters"),
        (["  "], "1 to 40"),
        (["a\nb"], "printable"),
        (["\x00"], "printable"),
        (["\u202egpj"], "printable"),  # turns the direction of writing around
        ([3], "printable"),
        ("thesis", "a list"),
        ([str(number) for number in range(11)], "at most 10"),
    ],
)
def test_wrong_tags_are_one_sentence_and_change_nothing(tmp_path, wrong, said):
    folder = made(tmp_path)
    set_tags(folder, ["kept"])
    with pytest.raises(AdaRankError, match=said) as caught:
        set_tags(folder, wrong)
    assert "\n" not in str(caught.value)
    assert tags(folder) == ("kept",)


@pytest.mark.parametrize("text", ["", "{", "3", '["a", 3]', '{"a": 1}', '["' + "x" * 41 + '"]'])
def test_damaged_tags_are_none(tmp_path, text):
    (tmp_path / "tags.json").write_text(text)
    assert tags(tmp_path) == ()


# Deletion


def test_a_deleted_run_is_out_of_the_list_and_comes_back_as_it_was(tmp_path):
    kept, gone = (made(tmp_path, name, note=name) for name in ("1-compare", "2-compare"))
    set_tags(gone, ["thesis"])
    there = delete(gone)
    assert not gone.exists() and [run.folder for run in runs(tmp_path)] == [kept]
    assert deleted(tmp_path) == [there] and there.name == gone.name
    assert run_folder(there).config["task"] == "docstrings"  # for who lists them
    assert restore(there) == gone
    assert [run.folder for run in runs(tmp_path)] == [gone, kept]
    assert run_folder(gone).state == "finished" and tags(gone) == ("thesis",)
    assert deleted(tmp_path) == [] and not list((tmp_path / ".deleted").iterdir())


def test_the_newest_deletion_comes_first(home):
    assert deleted() == []
    first, second = new_run_folder("compare"), new_run_folder("compare")
    there = [delete(second), delete(first)]
    assert deleted() == there[::-1]


def test_two_runs_of_one_name_can_be_deleted_but_not_both_restored(tmp_path):
    there = [delete(made(tmp_path, note=text)) for text in ("first", "second")]
    assert deleted(tmp_path) == there[::-1] and there[0].name == there[1].name
    folder = restore(there[0])
    assert (folder / "note").read_text() == "first"
    with pytest.raises(AdaRankError, match=r"there is a run '2026.*' already"):
        restore(there[1])
    assert (there[1] / "note").read_text() == "second"
    folder.rename(tmp_path / "other")
    folder.mkdir()  # an empty folder would be replaced without a word
    with pytest.raises(AdaRankError, match="already"):
        restore(there[1])


def test_the_bin_is_emptied_and_nothing_else(tmp_path):
    kept, gone = (new_run_folder("compare", tmp_path) for _ in range(2))
    delete(gone)
    empty(tmp_path)
    assert deleted(tmp_path) == [] and kept.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == [kept.name]
    empty(tmp_path)  # of nothing


def test_a_run_at_work_is_not_deleted(tmp_path):
    folder = tmp_path / "run"
    with open_run(folder, {}) as recorder:
        for event in ({"event": "step"}, {"event": "queued", "place": 1}, {"event": "finished"}):
            recorder.record(event)  # the last one is not its process's last word
            with pytest.raises(AdaRankError, match="the run 'run' is at work; cancel it"):
                delete(folder)
    assert delete(folder).exists()
    assert not folder.exists()


def test_a_run_that_starts_is_not_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("adarank_core.runs.jobs.subprocess.Popen", lambda *_, **__: None)
    folder = new_run_folder("compare", tmp_path)
    start(["compare"], folder)
    with pytest.raises(AdaRankError, match="is at work"):
        delete(folder)
    old = time.time() - 1000
    os.utime(folder / "command.json", (old, old))
    assert delete(folder).exists()


def test_what_is_deleted_is_not_deleted_again_nor_restored_twice(tmp_path):
    folder = made(tmp_path)
    there = delete(folder)
    with pytest.raises(AdaRankError, match="is not the folder of a run"):
        delete(folder)  # in a second tab
    with pytest.raises(AdaRankError, match="deleted already"):
        delete(there)
    restore(there)
    with pytest.raises(AdaRankError, match="is not the folder of a run"):
        restore(there)
    with pytest.raises(AdaRankError, match="is not the folder of a deleted run"):
        restore(folder)


@pytest.mark.parametrize(
    "name",
    ["..", ".", "", "../other", "inside/../../other", "link", ".queue", "papers", "file", "a\x00b"],
)
def test_nothing_but_a_run_is_touched(tmp_path, name):
    parent, other = tmp_path / "runs", made(tmp_path, "other", note="mine")
    made(parent, "inside")
    (parent / "link").symlink_to(other, target_is_directory=True)
    for foreign in (".queue", "papers"):
        (parent / foreign).mkdir()
        (parent / foreign / "thesis.txt").touch()
    (parent / "file").touch()
    for action in (delete, restore, lambda f: set_tags(f, ["x"]), lambda f: write_zip(f, tmp_path)):
        with pytest.raises(AdaRankError, match="is not the folder of a"):
            action(parent / name)
    assert (other / "note").exists() and (parent / "papers" / "thesis.txt").exists()
    assert not (parent / ".deleted").exists() and not (tmp_path / ".deleted").exists()


# Zips


def test_a_zip_holds_all_but_locks_checkpoints_and_links(tmp_path):
    folder = made(tmp_path, "1-compare", ünïcode="ä")
    for path in ("runs/a-seed0/adapter", "runs/a-seed0/checkpoints/checkpoint-3", "checkpoints"):
        (folder / path).mkdir(parents=True)
        (folder / path / "weights").write_bytes(b"1234")
    cancel(folder)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "secret").touch()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path / "others", target_is_directory=True)
    os.mkfifo(folder / "pipe")
    os.utime(folder / "ünïcode", (0, 0))  # before zip's first year
    write_zip(folder, tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as made_zip:
        assert made_zip.testzip() is None
        assert sorted(made_zip.namelist()) == [
            "1-compare/config.json",
            "1-compare/events.jsonl",
            "1-compare/runs/a-seed0/adapter/weights",
            "1-compare/ünïcode",
        ]
        assert made_zip.read("1-compare/events.jsonl") == (folder / "events.jsonl").read_bytes()
    write_zip(delete(folder), tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as made_zip:
        assert "1-compare/config.json" in made_zip.namelist()


def test_a_zip_that_breaks_off_leaves_the_one_before(tmp_path, monkeypatch):
    folder = new_run_folder("compare", tmp_path)
    set_tags(folder, ["thesis"])
    write_zip(folder, tmp_path / "run.zip")
    before = (tmp_path / "run.zip").read_bytes()

    def full(archive, *_):
        archive.fp.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(AdaRankError, match=r"run.zip' \(No space left"):
        write_zip(folder, tmp_path / "run.zip")
    assert (tmp_path / "run.zip").read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [folder, tmp_path / "run.zip"]


def test_a_zip_is_made_in_well_under_a_second(tmp_path):
    folder = made(tmp_path, "1-compare")
    line = b'{"event": "step", "step": 1, "train_loss": 1.788276195526123, "time": 1795462860.3}\n'
    (folder / "events.jsonl").write_bytes(line * 30_000)
    (folder / "adapter").write_bytes(os.urandom(3_000_000))
    took = []
    for _ in range(3):
        began = time.process_time()  # this process's own, however busy the machine is
        write_zip(folder, tmp_path / "run.zip")
        took.append(time.process_time() - began)
    assert min(took) < 0.5
    assert (tmp_path / "run.zip").stat().st_size < 3_500_000


def test_a_run_can_be_zipped_while_it_works_and_into_its_own_folder(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with open_run(folder, {}) as recorder:
        recorder.record({"event": "step"})
        real = store._files

        def found(folder):  # a file that is replaced between the look and the reading
            return [folder / ".config.json.123", *real(folder)]

        monkeypatch.setattr(store, "_files", found)
        for _ in range(2):
            write_zip(folder, folder / "run.zip")
    with zipfile.ZipFile(folder / "run.zip") as made_zip:
        assert sorted(made_zip.namelist()) == ["run/config.json", "run/events.jsonl"]


def test_a_zip_that_cannot_be_written_is_one_sentence(tmp_path):
    folder = made(tmp_path)
    with pytest.raises(AdaRankError, match=r"cannot be written as .*No such file"):
        write_zip(folder, tmp_path / "missing" / "run.zip")


# The word that a list shows


def with_verdict(folder, losses, **about):
    arms = {
        arm: {
            "lora_parameters": 9,
            "allocation_seconds": 0.0,
            "runs": [{"seed": n, "test_loss": loss} for n, loss in enumerate(values)],
        }
        for arm, values in losses.items()
    }
    write_json(folder / "verdict.json", verdict_of("t", "m", arms).to_dict())
    return Run(folder, **{"config": {}, "state": "finished", **about})


def word(*given, **about):
    return summary(with_verdict(*given, **about))["verdict"]


def test_a_run_is_said_in_three_words(tmp_path):
    uniform, lower, higher = [0.5, 0.6, 0.7], [0.4, 0.51, 0.6], [0.6, 0.71, 0.8]
    noisy = [0.4, 0.7, 0.6]
    assert word(tmp_path, {"uniform": uniform, "adarank": lower}) == "better"
    assert word(tmp_path, {"uniform": uniform, "adarank": higher}) == "worse"
    assert word(tmp_path, {"uniform": uniform, "adarank": noisy}) == "no detectable difference"
    assert word(tmp_path, {"uniform": [0.5], "adarank": [0.4]}) == "one seed decides nothing"
    assert word(tmp_path, {"uniform": [0.5, 0.6], "adarank": [0.4, 0.5]}) == "too few seeds to tell"
    # AdaRank's is shown though it is the second arm, and against the reference.
    three = {"uniform": uniform, "ramp-up": lower, "adarank": higher, "permuted": higher}
    assert word(tmp_path, three) == "worse"
    assert word(tmp_path, {"uniform": uniform, "ramp-up": lower, "inverse": higher}) == "better"
    assert word(tmp_path, {"uniform": uniform}) == ""


def test_a_run_without_a_verdict_says_nothing(tmp_path):
    losses = {"uniform": [0.5, 0.6, 0.7], "adarank": [0.4, 0.51, 0.6]}
    for state in ("starting", "queued", "running"):  # an older verdict is not this run's
        assert word(tmp_path, losses, state=state) == ""
    for state in ("finished", "cancelled", "failed", "interrupted"):
        assert word(tmp_path, losses, state=state) == "better"
    for damaged in (b"{", b"3", b"{}", b'{"comparisons": [3]}', b'{"comparisons": [{}]}', b"\xff"):
        (tmp_path / "verdict.json").write_bytes(damaged)
        assert summary(Run(tmp_path, {}, "finished")) == {"verdict": "", "effect": ""}
    html = {"arm": "adarank", "metric": "test_loss", "verdict": "<b>best</b>"}
    (tmp_path / "verdict.json").write_text(json.dumps({"comparisons": [html]}))
    assert summary(Run(tmp_path, {}, "finished")) == {"verdict": "", "effect": ""}
