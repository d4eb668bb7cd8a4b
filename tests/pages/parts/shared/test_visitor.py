from types import SimpleNamespace

import pytest

from adarank_core.files import runs_folder
from adarank_core.runs.visitors import home_of
from pages.parts.shared import visitor


@pytest.fixture
def browser(monkeypatch, home):
    """A session of its own with cookies to be set."""
    held = SimpleNamespace(cookies={})
    monkeypatch.setattr(visitor.st, "context", held)

    class Session(dict):
        __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__

    def load(cookie=None):
        held.cookies = {} if cookie is None else {visitor.COOKIE: cookie}
        monkeypatch.setattr(visitor.st, "session_state", Session())
        return visitor.owner()

    return load


def test_without_walls_all_runs_are_everybodys(browser):
    assert browser(visitor.new_word()) == "" and visitor.runs_home() == runs_folder()


def test_a_cookie_brings_a_visitor_back_and_without_one_he_is_new(browser, monkeypatch):
    monkeypatch.setenv("ADARANK_PRIVATE", "1")
    word = visitor.new_word()
    assert browser(word) == browser(word) == word
    assert visitor.runs_home() == home_of(word)
    alone = browser()
    assert alone == visitor.owner() != browser()
    for forged in ("../..", "x", "a" * 44):
        assert visitor.WORD.fullmatch(browser(forged)) and visitor.owner() != forged
