from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from pages.parts.learn.lesson_data import lesson
from pages.parts.learn.rooms import ROOMS, Attendee, name_of, new_visitor
from pages.parts.shared import state

ROOT = Path(__file__).resolve().parents[2]
STEPS = lesson()["steps"]


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr(state, "PagesManager", SimpleNamespace(uses_pages_directory=False))

    def app(**link):
        page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
        for key, value in link.items():
            page.query_params[key] = value
        page.switch_page("pages/teach.py").run()
        assert not page.exception
        return page

    return app


@pytest.fixture
def teacher(app, monkeypatch):
    """AppTest's browser has no address that tells whether it is on this machine."""
    monkeypatch.setenv("ADARANK_TEACH", "1")
    return app


def links(page):
    """The links in sight, as path and parameters."""
    parts = [urlsplit(code.value) for code in page.code]
    return [
        (part.path, {key: values[0] for key, values in parse_qs(part.query).items()})
        for part in parts
    ]


def test_the_rooms_link_says_what_the_teacher_chose(teacher):
    page = teacher()
    path, query = links(page)[0]
    assert path == "/learn" and list(query) == ["room"]
    page.button_group(key="teach_steps").set_value(["fair", "rank"])
    page.button_group(key="teach_hidden").set_value(["compare", "settings"])
    page.toggle(key="teach_feedback").set_value(False)
    page.number_input(key="seed").set_value(7)
    page.button_group(key="text").set_value("task")
    page.text_input(key="teach_address").set_value("http://192.0.2.7:8501/").run()
    assert page.code[0].value.startswith("http://192.0.2.7:8501/learn?room=")
    chosen = {"lesson": "16", "hide": "compare.settings", "feedback": "0"}
    assert links(page)[0][1] == {**query, **chosen, "seed": "7", "text": "task"}
    assert "**12 minutes** for 2 steps" in " ".join(each.value for each in page.markdown)
    # The teacher's own link brings all of it back, also after a restart of the server.
    key = page.query_params["key"]
    ROOMS.close(query["room"])
    again = teacher(**{name: str(value) for name, value in page.query_params.items()})
    assert again.button_group(key="teach_hidden").value == ["compare", "settings"]
    assert links(again)[0][1].items() >= {**query, **chosen}.items()
    assert name_of(key) == query["room"] and ROOMS.knows(query["room"])


def test_a_teacher_finds_the_way_back_to_the_room(teacher):
    page = teacher().number_input(key="seed").set_value(7).run()
    room = links(page)[0][1]["room"]
    (way,) = [link for link in page.get("page_link") if "bookmark it" in link.proto.label]
    query = {key: values[0] for key, values in parse_qs(way.proto.query_string).items()}
    assert query["seed"] == "7" and links(teacher(**query))[0][1]["room"] == room
    # From the lesson too, within the session.
    page.query_params.clear()  # as the side bar's link leaves them behind
    lesson_page = page.switch_page("pages/learn.py").run()
    labels = [link.proto.label for link in lesson_page.get("page_link")]
    assert "Back to the room that you teach" in labels
    assert links(lesson_page.switch_page("pages/teach.py").run())[0][1]["room"] == room


def test_the_board_counts_and_forgets(teacher):
    page = teacher()
    room = links(page)[0][1]["room"]
    assert any("Nobody yet" in caption.value for caption in page.caption)
    for answers in ({"rank": 1}, {"rank": 0, "noise": 2}):
        ROOMS.report(room, new_visitor(), Attendee("noise", answers))
    page.run()
    assert [metric.value for metric in page.metric] == ["2", "3 of 16"]
    assert len(page.get("plotly_chart")) == 3  # how far, and two checks
    next(button for button in page.button if button.label.startswith("Start over")).click().run()
    assert not page.exception and page.metric[0].value == "0"
    assert links(page)[0][1]["room"] != room and not ROOMS.knows(room)


def test_the_answer_key_has_every_answer_and_only_the_right_ones_marked(teacher):
    path, query = links(teacher())[1]
    assert path == "/teach" and query["show"] == "answers"
    page = teacher(**query)
    said = [each.value for each in page.markdown]
    assert page.title[0].value == "The answers, and why" and not page.code
    marked = [each for each in said if "✓" in each]
    rights = [c for step in STEPS for c in step["check"]["choices"] if c.get("right")]
    assert len(marked) == 8
    assert all(right["why"] in mark for right, mark in zip(rights, marked, strict=True))


def test_nobody_but_the_teachers_sees_the_answers(teacher, app, monkeypatch):
    (_, room), (_, key) = links(teacher())
    monkeypatch.delenv("ADARANK_TEACH")

    def refused(page):
        words = " ".join(each.value for each in [*page.title, *page.markdown])
        return "Teach opens on the machine" in words and not page.code and "✓" not in words

    # The room's own name for a key, the room alone, a key that was made up: nothing.
    for link in ({}, room, {**room, "key": room["room"]}, {**room, "key": "made up"}):
        assert refused(app(**link, show="answers")) and refused(app(**link))
    assert not refused(app(**key))  # a fellow teacher elsewhere
    ROOMS.close(room["room"])
    assert refused(app(**key))


def test_who_sits_at_the_machine_may_teach(monkeypatch, app):
    monkeypatch.setattr(type(st.context), "ip_address", property(lambda self: None), raising=True)
    assert app().title[0].value.startswith("Teach the lesson")
    monkeypatch.setattr(type(st.context), "ip_address", property(lambda self: "192.0.2.9"))
    assert app().title[0].value.startswith("Teach opens")


def test_learn_leads_to_teach(teacher):
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    page.query_params["teach"] = "1"
    page.switch_page("pages/learn.py").run()
    assert not page.exception and page.title[0].value.startswith("Teach the lesson")
