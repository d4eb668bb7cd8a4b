"""Where caches and runs lie."""

from pathlib import Path

import platformdirs
import pytest

from adarank_core.files import cache_folder, event_in, runs_folder, write_json, write_whole


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

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:5])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for write in (lambda: write_whole(path, b"longer than five"), lambda: write_json(path, {})):
        with pytest.raises(OSError, match="No space"):
            write()
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
