"""Where caches and runs lie, and how files are read and written."""

import io
import os
import stat
import threading
from pathlib import Path

import platformdirs
import pytest

from adarank_core.errors import AdaRankError
from adarank_core.files import (
    cache_folder,
    event_in,
    read_bytes,
    read_json,
    replacing,
    runs_folder,
    write_json,
    write_whole,
)


def test_a_home_of_one_s_own_holds_both(tmp_path, monkeypatch):
    monkeypatch.setenv("ADARANK_HOME", str(tmp_path / "deep" / "home"))
    assert cache_folder() == tmp_path / "deep" / "home" / "cache"
    assert runs_folder() == tmp_path / "deep" / "home" / "runs"
    assert cache_folder().is_dir() and runs_folder().is_dir()


@pytest.mark.parametrize("value", ["", None])
def test_without_one_the_user_s_folders_are_used(tmp_path, monkeypatch, value):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    if value is None:
        monkeypatch.delenv("ADARANK_HOME")
    else:
        monkeypatch.setenv("ADARANK_HOME", value)
    assert cache_folder() == platformdirs.user_cache_path("adarank") and cache_folder().is_dir()
    assert runs_folder() == platformdirs.user_data_path("adarank") / "runs"
    assert runs_folder().is_dir()


@pytest.mark.parametrize("line", [b"", b"nope", b"3", b"{}", b"\xff", b'["event"]', b"[" * 100_000])
def test_a_line_that_is_no_event_is_none(line):
    assert event_in(line) is None


def test_a_line_is_an_event_whatever_bytes_its_text_has():
    assert (
        event_in(b'{"event": "failed", "message": "\xff"}')["message"]
        == "\N{REPLACEMENT CHARACTER}"
    )


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "data.json"
    write_json(path, {"rank": 8})
    before = path.read_bytes()

    class Full(io.FileIO):
        def write(self, content):
            super().write(content[:5])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, mode.replace("b", "")))
    for write in (lambda: write_whole(path, b"longer than five"), lambda: write_json(path, {})):
        with pytest.raises(OSError, match="No space"):
            write()
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_home_may_begin_with_the_user_s_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ADARANK_HOME", "~/mine")
    assert runs_folder() == tmp_path / "mine" / "runs"


def test_a_home_that_is_read_only_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ADARANK_HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(AdaRankError, match=r"runs' cannot be used \(it is read-only\)"):
        runs_folder()


def test_writing_replaces_links_and_pipes_and_follows_none(tmp_path):
    other = tmp_path / "other.json"
    other.write_text("{}")
    (tmp_path / "link.json").symlink_to(other)
    os.mkfifo(tmp_path / "pipe.json")
    # The name of the partial file can be foreseen: a link there is not followed either.
    partial = tmp_path / f".pipe.json.{os.getpid()}.{threading.get_ident()}"
    partial.symlink_to(other)
    for name in ("link.json", "pipe.json"):
        write_json(tmp_path / name, {"rank": 8})
        assert read_json(tmp_path / name) == {"rank": 8}
        assert (tmp_path / name).is_file() and not (tmp_path / name).is_symlink()
    assert other.read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "link.json",
        "other.json",
        "pipe.json",
    ]


def test_a_file_that_hides_its_size_is_read_no_further_than_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.stat", lambda path: os.stat_result([stat.S_IFREG] + [0] * 9))
    (tmp_path / "a.txt").write_bytes(b"x" * 1_000_001)
    with pytest.raises(AdaRankError, match="larger than it says; at most 1 MB"):
        read_bytes(tmp_path / "a.txt", 1)


def test_what_a_library_does_not_write_to_its_end_is_never_seen(tmp_path):
    path = tmp_path / "table.csv"
    write_whole(path, b"text,label")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_bytes(b"te")
        raise RuntimeError
    assert path.read_bytes() == b"text,label" and list(tmp_path.iterdir()) == [path]
