"""Two visitors of one demo: what is one's is not seen, opened, cancelled or taken by the other."""

from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from adarank_core.data.texts import sentence
from adarank_core.files import runs_folder, write_json
from adarank_core.runs import jobs, store, visitors
from pages.parts.explore.scoring_job import ScoringJob
from pages.parts.shared import state
from tests.pages.test_runs import CONFIG

APP = str(Path(__file__).resolve().parents[2] / "app.py")
SECRET = "a-secret-tag"


@pytest.fixture(params=["ADARANK_DEMO", "ADARANK_PRIVATE"])
def mode(request, home, monkeypatch):
    monkeypatch.setenv(request.param, "1")
    monkeypatch.setattr(type(st.context), "cookies", {})  # of which AppTest has none
    monkeypatch.setattr(jobs, "versions", dict)  # asking git takes its time
    return request.param


def visit(page, session=None, word="", **link):
    """Go on with a session, or open a link in a new one; a word is what the cookie holds."""
    at = session or AppTest.from_file(APP, default_timeout=60)
    if session is None:
        at.query_params |= link
        if word:
            at.session_state["visitor"] = word
        at.run()
    at.switch_page(f"pages/{page}.py").run()
    assert not at.exception
    return at


def said(at):
    found = [*at.title, *at.markdown, *at.caption, *at.warning, *at.error, *at.code, *at.button]
    found += [*at.selectbox, *at.multiselect]
    words = [
        f"{getattr(one, 'label', '')} {getattr(one, 'options', '')} {one.value}" for one in found
    ]
    return " ".join([*words, *(table.value.to_csv() for table in at.dataframe)])


@pytest.fixture
def one(mode):
    """A visitor with a finished run that has a tag, and one at work; with his session."""
    at = visit("runs")
    assert at.title[0].value == "No runs yet"
    folder = visitors.home_of(at.session_state["visitor"])
    done = jobs.new_run_folder("compare", folder)
    with jobs.open_run(done, {**CONFIG, "task": "my-secret-task.csv"}):
        pass
    store.set_tags(done, [SECRET])
    alive = jobs.new_run_folder("compare", folder)
    with jobs.open_run(alive, CONFIG):
        yield visit("runs", at), done, alive


def test_the_other_sees_none_of_it(one):
    at, done, _ = one
    assert at.title[0].value == "2 runs: 1 at work" and SECRET in said(at)
    other = visit("runs")
    assert other.title[0].value == "No runs yet"
    assert not other.dataframe and SECRET not in said(other) and "secret-task" not in said(other)
    for word in ("Cancel", "Delete", "Undo", "Zip", "Open"):
        assert not any(word in button.label for button in other.button)
    # A selection that names the other's run, as a forged message of a browser might.
    other.session_state["runs_selected"] = [done.name]
    other.run()
    assert not other.exception and done.name not in said(other)


def test_a_shared_link_gives_nothing_away(one):
    at, done, alive = one
    mine = visit("compare", word=at.session_state["visitor"], run=alive.name)
    assert not mine.warning and any(button.label == "Cancel" for button in mine.button)
    assert "visitor" not in mine.query_params and len(mine.query_params.get("run", "")) > 0
    answers = []
    for name in (done.name, alive.name, "20261124-230929-000001-compare"):
        other = visit("compare", run=name)
        assert not any("Cancel" in button.label for button in other.button)
        assert "secret-task" not in said(other)
        answers.append(other.warning[0].value)
    assert set(answers) == {
        "That run is not yours, or it is not on this machine any more; here is the stored example."
    }  # the same for what there is and what there is not
    other = visit("compare", run=f"../{done.name}")  # which no run is called
    assert "run" not in other.query_params and "secret-task" not in said(other)


def test_deleted_runs_are_their_owners(one):
    at, done, _ = one
    store.delete(done)
    assert any("Deleted (1)" in box.label for box in visit("runs", at).expander)
    other = visit("runs")
    assert not any("Deleted" in box.label for box in other.expander)
    assert store.deleted(done.parent)  # and emptying his own bin, which is all that he could, …
    store.empty(visitors.home_of(other.session_state["visitor"]))
    assert store.deleted(done.parent)  # … leaves the other's


def test_the_operators_runs_are_not_a_visitors(mode):
    folder = jobs.new_run_folder("compare", runs_folder())
    write_json(folder / "config.json", CONFIG)
    assert visit("runs").title[0].value == "No runs yet"


def test_no_page_says_where_things_lie(one, home):
    at, done, _ = one
    write_json(
        done / "command.json",
        {"command": ["python", "-m", "adarank_core", "compare", "--output", str(done)]},
    )
    word = at.session_state["visitor"]
    for page, link in (("runs", {}), ("compare", {"run": done.name}), ("compare", {})):
        told = said(visit(page, word=word, **link))
        assert str(home) not in told and done.parent.name not in told
        assert page == "runs" or "adarank_core compare" in told


def test_that_a_sentence_was_scored_before_is_told_to_nobody_else(monkeypatch, mode):
    keys = []
    for word in ("one", "other"):
        monkeypatch.setattr("pages.parts.shared.visitor.owner", lambda word=word: word)
        for source, text in (("sentence", "A rank."), ("generic", ""), ("task", "docstrings")):
            job = ScoringJob("embedded", 2, sentence("A rank."), 2, 0, source, text)
            keys.append((source, job.key))
    private = {key for source, key in keys if source == "sentence"}
    shared = {key for source, key in keys if source != "sentence"}
    assert len(private) == 2 and len(shared) == 1


def test_only_so_many_are_scored_for_at_once(monkeypatch):
    monkeypatch.setenv("ADARANK_MAX_SCORINGS", "1")
    jobs_ = [
        ScoringJob("embedded", 2, sentence("A rank."), 2, 0, "sentence", "A rank.")
        for _ in range(2)
    ]
    jobs_[0].prepare()
    with pytest.raises(ValueError, match=r"2 scorings .* the 1 that .*ADARANK_MAX_SCORINGS"):
        jobs_[1].prepare()
    while jobs_[0].advance():
        pass
    jobs_[1].prepare()


def test_a_path_that_came_in_somehow_is_refused_where_work_is_started(mode):
    for path in ("pyproject.toml", "/etc/passwd", str(runs_folder() / ".visitors" / "x" / "x.csv")):
        at = visit("compare")
        at.session_state["task"] = state.OWN_FILE
        at.session_state["task_path"] = path
        at.run()
        at.button(key="compare_start").click().run()
        assert "is not offered here" in at.error[0].value or "did not upload" in at.error[0].value
        assert not jobs.run_folders(visitors.home_of(at.session_state["visitor"]))


@pytest.mark.parametrize("name", ["/etc", "../pages", "~root"])
def test_a_link_names_no_folder(name, mode):
    at = AppTest.from_file(APP, default_timeout=60)
    at.query_params["model"] = name
    at.run()
    assert "in the address cannot be chosen" in at.caption[0].value
    assert at.selectbox(key="model").value == "embedded"


def test_a_rooms_link_makes_nobody_another_visitor(mode):
    at = visit("learn", room="7e8af291f94a6872", me="0123abcd")
    assert at.session_state["attendee"] == "0123abcd"
    visit("runs", at)
    assert len(at.session_state["visitor"]) == 43
