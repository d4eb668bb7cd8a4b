import doctest
from dataclasses import replace
from pathlib import Path

import pytest

from adarank_core.errors import AdaRankError
from pages.parts.shared import link, state

STORED = state.example_about()["sentence"]


def test_examples():
    assert doctest.testmod(state).failed == 0


def test_plain_leaves_no_markdown():
    assert state.plain("[a](http://b) $x$ <b>") == "\\[a\\]\\(http\u2060\\://b\\) \\$x\\$ \\<b\\>"


def test_an_upload_is_called_by_its_name_however_long_its_path_is(monkeypatch):
    said = []
    monkeypatch.setattr(state.st, "error", said.append)
    path = Path("/srv", *["folder"] * 60, "mine.csv")
    state.show_error(AdaRankError(f"{str(path)!r} is empty"), path)
    assert said == ["'mine.csv' is empty"]


@pytest.mark.parametrize("text", ["www.x.org", "http://x.org", "HTTPS://x.org", "me@x.org"])
def test_nothing_in_plain_text_becomes_a_link(text):
    shown = state.plain(f"no model {text}")
    assert "\u2060" in shown and text not in shown.replace("\\", "")


@pytest.mark.parametrize("source", link.SOURCES)
def test_the_stored_example_is_whole(source):
    scores = state.example_scores(source)
    assert len(scores.modules) == 36
    assert scores.model == "embedded"


def test_the_stored_comparison_is_finished():
    run = state.example_run()
    assert run.state == "finished"
    assert {"uniform", "adarank"} <= set(run.config["arms"])


def test_current_is_the_example_until_something_is_kept(monkeypatch, made_up):
    monkeypatch.setattr(state.st, "session_state", Session())
    choice = state.Choice("embedded", "sentence", "docstrings", 0, 8, None, STORED)
    first = state.current(choice)
    assert (first.kind, first.text) == ("stored example", state.example_about()["sentence"])
    mine = replace(choice, sentence="mine")
    assert state.current(mine).stale
    state.keep(state.Shown(made_up(), "computed now", "sentence", "mine", mine.asked))
    assert (state.current(mine).text, state.current(mine).stale) == ("mine", False)
    assert state.current(replace(mine, seed=1)).stale
    other = state.Choice("embedded", "generic", "docstrings", 0, 8)
    assert state.current(other).kind == "stored example"


class Session(dict):
    """A session state without a session."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__
