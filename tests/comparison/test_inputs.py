"""A run's own copies of what it reads: whole, checked, and found where the original is gone."""

import os
import shutil
from pathlib import Path

import pytest

from adarank_core import AdaRankError, load_task
from adarank_core.comparison import inputs
from adarank_core.comparison.inputs import input_path, keep_input


@pytest.fixture
def table(tmp_path):
    rows = [f"I am {mood} {at}.,{label}" for at in range(80) for label, mood in enumerate("ab")]
    path = tmp_path / "given" / "moods.csv"
    path.parent.mkdir()
    path.write_text("\n".join(["text,label", *rows]))
    (path.parent / "meta.json").write_text('{"label_names": ["angry", "bored"]}')
    (path.parent / "other.txt").write_text("not for the run")
    return path


def test_a_file_is_copied_with_the_names_of_its_labels(table, tmp_path):
    before = load_task(table)
    copy = keep_input(tmp_path / "run", str(table))
    shutil.rmtree(table.parent)
    assert Path(copy).is_relative_to(tmp_path / "run") and not list(Path(copy).parent.glob("*.txt"))
    assert (
        copy == input_path(tmp_path / "run", str(table)) == keep_input(tmp_path / "run", str(table))
    )
    after = load_task(copy)
    assert (after.name, after.label_names) == ("moods", ("angry", "bored"))
    for split in ("train", "validation", "test"):
        assert getattr(after, split).equals(getattr(before, split))


def test_a_folder_is_copied_without_what_is_not_of_the_task(tiny_file, tmp_path):
    given = tmp_path / "tiny"
    shutil.copytree(tiny_file, given)
    (given / "notes.txt").write_text("mine")
    copy = keep_input(tmp_path / "run", f"{given}/")
    assert sorted(path.name for path in Path(copy).iterdir()) == [
        "test.csv",
        "train.csv",
        "validation.csv",
    ]
    shutil.rmtree(given)
    assert load_task(keep_input(tmp_path / "run", f"{given}/")).name == "tiny"


@pytest.mark.parametrize("name", ["val.csv", "dev.csv"])
def test_a_folder_is_copied_with_validation_under_its_short_names(tiny_file, tmp_path, name):
    given = tmp_path / "tiny"
    shutil.copytree(tiny_file, given)
    (given / "validation.csv").rename(given / name)
    after = load_task(keep_input(tmp_path / "run", str(given)))
    assert after.validation.equals(load_task(given).validation)
    assert after.train.equals(load_task(given).train)


def test_a_name_that_was_given_leads_to_the_copy_from_any_folder(table, tmp_path, monkeypatch):
    monkeypatch.chdir(table.parent)
    copy = keep_input(tmp_path / "run", "moods.csv")
    monkeypatch.chdir(tmp_path)
    assert input_path(tmp_path / "run", "moods.csv") == copy != "moods.csv"
    assert keep_input(tmp_path / "run", "moods.csv") == copy


def test_two_files_of_one_name_have_two_copies(table, tmp_path):
    other = tmp_path / "other" / "moods.csv"
    other.parent.mkdir()
    other.write_text("text,label\n")
    first, second = (keep_input(tmp_path / "run", str(path)) for path in (table, other))
    assert Path(first).read_bytes() == table.read_bytes() != Path(second).read_bytes()


@pytest.mark.parametrize("change", ["rows", "names", "one more"])
def test_what_has_changed_since_is_refused(table, tmp_path, change):
    keep_input(tmp_path / "run", str(table))
    if change == "rows":
        table.write_text("text,label\n")
    elif change == "names":
        (table.parent / "meta.json").write_text("{}")
    else:
        (table.parent / "meta.json").unlink()
    with pytest.raises(AdaRankError, match=r"has changed since the run in .* began"):
        keep_input(tmp_path / "run", str(table))
    assert input_path(tmp_path / "run", str(table)) != str(table)


@pytest.mark.parametrize(
    "name", ["docstrings", "trec", "no.csv", "x" * 5000, "caf\udce9", "\ud83d"]
)
def test_what_is_no_file_stays_as_it_is(tmp_path, name):
    assert keep_input(tmp_path / "run", name) == input_path(tmp_path / "run", name) == name
    assert input_path(None, name) == name and not (tmp_path / "run").exists()


def test_a_copy_that_breaks_off_is_none(table, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patches:
        patches.setattr(inputs.shutil, "copyfileobj", full)
        with pytest.raises(OSError, match="No space left"):
            keep_input(tmp_path / "run", str(table))
    assert input_path(tmp_path / "run", str(table)) == str(table)
    assert not list((tmp_path / "run" / "inputs").iterdir())
    assert load_task(keep_input(tmp_path / "run", str(table))).name == "moods"


def test_a_file_that_may_not_be_read_is_named(table, tmp_path, monkeypatch):
    def forbidden(path, *_):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(inputs.Path, "open", forbidden)
    with pytest.raises(AdaRankError, match=r"moods.csv' cannot be read \(Permission denied\)"):
        keep_input(tmp_path / "run", str(table))
