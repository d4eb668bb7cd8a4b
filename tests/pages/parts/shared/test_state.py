import doctest
import errno
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.errors import AdaRankError
from pages.parts.shared import state

STORED = state.example_about()["sentence"]
MOODS = "text,label\n" + "".join(
    f"I am {mood} {at}.,{mood}\n" for at in range(60) for mood in ("glad", "sad")
)


def page():
    """Draw the sidebar, and keep what it gave where a test can read it."""
    import streamlit as st

    from pages.parts.shared import state

    state.open_page()
    st.session_state.given = state.sidebar()


@pytest.fixture
def sidebar():
    return AppTest.from_function(page, default_timeout=30)


def given(at):
    assert not at.exception
    return at.session_state.given


def test_examples():
    assert doctest.testmod(state).failed == 0


def test_plain_leaves_no_markdown():
    assert state.plain("[a](http://b) $x$ <b>") == "\\[a\\]\\(http\u2060\\://b\\) \\$x\\$ \\<b\\>"


def test_the_first_choice_needs_no_network(sidebar):
    choice = given(sidebar.run())
    assert choice == state.Choice("embedded", "generic", "docstrings", 0, 8, None, STORED)


def test_the_choice_comes_from_the_url(sidebar):
    for key, value in {"text": "task", "task": "sst2", "seed": "5", "rank": "16"}.items():
        sidebar.query_params[key] = value
    assert given(sidebar.run()) == state.Choice("embedded", "task", "sst2", 5, 16, None, STORED)


def test_nonsense_in_the_url_is_passed_over_and_all_of_it_is_said(sidebar):
    wrong = {"model": "\0", "text": "poem", "task": "/etc", "seed": "-1", "rank": ["4", "8"]}
    sidebar.query_params |= wrong
    usual = state.Choice("embedded", "generic", "docstrings", 0, 8, None, STORED)
    assert given(sidebar.run()) == usual
    (said,) = [caption.value for caption in sidebar.caption if "in the address" in caption.value]
    assert all(f"{name}=" in said for name in wrong)
    sidebar.run()
    assert not any("in the address" in caption.value for caption in sidebar.caption)  # said once


def test_a_typed_model_is_taken(sidebar):
    sidebar.query_params["model"] = "prajjwal1/bert-tiny"
    assert given(sidebar.run()).model == "prajjwal1/bert-tiny"


def test_an_own_file_becomes_the_task(sidebar):
    sidebar.run()
    sidebar.selectbox(key="task").select(state.OWN_FILE).run()
    assert given(sidebar).task == "docstrings"  # until there is a file
    sidebar.file_uploader[0].set_value(("my moods.csv", MOODS.encode(), "text/csv")).run()
    path = Path(given(sidebar).task)
    assert path.name == "my_moods.csv"
    assert path.read_text(encoding="utf-8") == MOODS


def test_a_bad_file_is_one_sentence_and_the_good_one_stays(sidebar):
    sidebar.run()
    sidebar.selectbox(key="task").select(state.OWN_FILE).run()
    sidebar.file_uploader[0].set_value(("moods.csv", MOODS.encode(), "text/csv")).run()
    sidebar.file_uploader[0].set_value(("bad.csv", b"a,b\n1,2\n", "text/csv")).run()
    assert Path(given(sidebar).task).name == "moods.csv"
    (error,) = sidebar.error
    assert error.value.startswith("The file 'bad.csv' has the columns 'a', 'b'")


def test_an_upload_cannot_leave_its_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(state.st, "session_state", Session(uploads=str(tmp_path)))
    for name in ("../../up.csv", "..\\up.csv", "/etc/up.csv", "..", ""):
        path = state.save_upload(name, b"x")
        assert path.parent.parent == tmp_path
        assert path.resolve().is_relative_to(tmp_path)


def test_equal_uploads_lie_at_one_path(monkeypatch, tmp_path):
    monkeypatch.setattr(state.st, "session_state", Session(uploads=str(tmp_path)))
    assert state.save_upload("a.csv", b"x") == state.save_upload("a.csv", b"x")
    assert state.save_upload("a.csv", b"x") != state.save_upload("a.csv", b"y")


def test_an_upload_is_written_whole_and_once(monkeypatch, tmp_path):
    uploads = tmp_path / "tidied" / "up"  # by the system, as temporary folders are
    monkeypatch.setattr(state.st, "session_state", Session(uploads=str(uploads)))
    written = []

    def write_whole(path, content):
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr(state, "write_whole", write_whole)
    path = state.save_upload("a.csv", b"x")
    assert state.save_upload("a.csv", b"x") == path and written == [path]
    assert path.read_bytes() == b"x"


def test_uploads_are_capped_and_a_full_disk_is_one_sentence(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(state.st, "error", said.append)
    monkeypatch.setattr(state.st, "session_state", Session(uploads=str(tmp_path)))
    monkeypatch.setattr(state, "MOST_UPLOADED", 1e-5)  # ten bytes
    assert state.save_upload("a.csv", b"123456") is not None
    assert state.save_upload("b.csv", b"7890123") is None and "uploads of this session" in said[0]
    assert state.save_upload("a.csv", b"123456") is not None  # it is there

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state, "write_whole", full)
    assert state.save_upload("c.csv", b"7") is None and "No space left" in said[1]


def test_uploads_go_with_their_session(monkeypatch):
    session = Session()
    monkeypatch.setattr(state.st, "session_state", session)
    path = state.save_upload("a.csv", b"x")
    assert path.exists()
    session["uploads_folder"].cleanup()  # as happens when nobody holds it any more
    assert not path.exists()


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


@pytest.mark.parametrize("source", state.SOURCES)
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
