import sys
import tempfile
from pathlib import Path

import pytest

from adarank_core.files import runs_folder, visitors_folder
from adarank_core.server_paths import without_paths


@pytest.fixture
def walls(monkeypatch):
    monkeypatch.setenv("ADARANK_PRIVATE", "1")


def test_nothing_is_changed_without_walls():
    text = f"{str(runs_folder() / 'a')!r} is full"
    assert without_paths(text, all_of_them=True) == text


@pytest.mark.usefixtures("walls", "home")
def test_a_file_is_called_by_its_name():
    run = "20261124-230929-000001-compare"
    own = visitors_folder() / ("0123456789abcdef" * 2)
    root = Path(__file__).resolve().parents[1]
    found = {
        f"{str(own / run)!r} cannot be read": f"'{run}' cannot be read",
        f"--task={own}/.uploads/0123456789ab/mine.csv --steps=9": "--task=mine.csv --steps=9",
        f"{runs_folder() / run / 'config.json'}: gone": f"{run}/config.json: gone",
        f"'{runs_folder()}'": "'runs'",
        f"'{own}'": f"'{own.name[:12]}'",
        f"{root}/pages/compare.py and {tempfile.gettempdir()}/x": "pages/compare.py and x",
        f"{sys.prefix}/lib/python3.11/x.py": "lib/python3.11/x.py",
        "a/b and https://example.org/tmp/x or 1/2": "a/b and https://example.org/tmp/x or 1/2",
        "no path": "no path",
    }
    assert {text: without_paths(text) for text in found} == found


@pytest.mark.usefixtures("walls")
def test_of_a_log_whatever_looks_like_a_path_is_cut():
    log = (
        'File "/nix/store/abc-python/x.py", line 3; https://hub.co/a/b/c, and/or /dev/null {"/a/b"}'
    )
    said = 'File "x.py", line 3; https://hub.co/a/b/c, and/or null {"b"}'
    assert without_paths(log, all_of_them=True) == said
