import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.learn.lesson_layout import unbroken


def page():
    import pandas as pd
    import streamlit as st

    from pages.parts.learn import lesson_layout
    from pages.parts.learn.lesson_data import lesson

    words, step = lesson(), lesson()["steps"][0]
    lesson_layout.draw_head(step, "A finding")
    text, toy = lesson_layout.passage_and_toy()
    with text:
        lesson_layout.draw_task(step)
        lesson_layout.draw_check(words, step, st.session_state.get("feedback", True))
    with toy:
        lesson_layout.draw_data(pd.DataFrame({"module": ["query"], "rank": [3]}), "ranks")
    lesson_layout.draw_points(step)


@pytest.fixture
def lesson():
    at = AppTest.from_function(page, default_timeout=60).run()
    assert not at.exception
    return at


def test_a_check_explains_the_right_answer_and_the_wrong_one(lesson):
    assert not lesson.success and len(lesson.info) == 1  # what there is to try
    lesson.radio(key="check_rank").set_value(1).run()
    assert lesson.success[0].value.startswith("**Right.** The change is a product")
    lesson.radio(key="check_rank").set_value(2).run()
    assert lesson.info[1].value.startswith("**Not quite.** LoRA may change every module")
    assert not lesson.success


def test_without_feedback_right_and_wrong_look_alike(lesson):
    lesson.session_state.feedback = False
    shown = []
    for answer in (1, 2):
        lesson.radio(key="check_rank").set_value(answer).run()
        assert not lesson.success
        shown.append([info.value for info in lesson.info])
    assert shown[0] == shown[1] and len(shown[0]) == 2


def test_a_figure_has_its_table_in_a_closed_expander(lesson):
    (closed,) = lesson.expander
    assert closed.label == "Data" and not closed.proto.expanded
    assert closed.dataframe[0].value.to_dict("list") == {"module": ["query"], "rank": [3]}


def test_tables_can_be_hidden_from_a_room(lesson):
    lesson.session_state.hidden_parts = ("data",)
    lesson.run()
    assert not lesson.expander and not lesson.exception


def test_a_label_has_no_space_to_break_at():
    assert " " not in unbroken("layer 6 · value") and len(unbroken("layer 6 · value")) == 15
