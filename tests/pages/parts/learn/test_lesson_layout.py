import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.learn.lesson_layout import unbroken


def page():
    import pandas as pd

    from pages.parts.learn import lesson_layout

    text, toy = lesson_layout.reading_columns()
    with text:
        answers = {"one": "It is one.", "two": "It is not two."}
        lesson_layout.draw_check("check", "How many?", answers, right="one")
    with toy:
        lesson_layout.draw_data(pd.DataFrame({"module": ["query"], "rank": [3]}), "ranks")


@pytest.fixture
def lesson():
    at = AppTest.from_function(page, default_timeout=60).run()
    assert not at.exception
    return at


def test_a_check_explains_the_right_answer_and_the_wrong_one(lesson):
    assert not lesson.success and not lesson.info
    lesson.radio(key="check").set_value("one").run()
    assert lesson.success[0].value == "**Right.** It is one." and not lesson.info
    lesson.radio(key="check").set_value("two").run()
    assert lesson.info[0].value == "**Not quite.** It is not two." and not lesson.success


def test_a_figure_has_its_table_in_a_closed_expander(lesson):
    (closed,) = lesson.expander
    assert closed.label == "Data" and not closed.proto.expanded
    assert closed.dataframe[0].value.to_dict("list") == {"module": ["query"], "rank": [3]}


def test_a_label_has_no_space_to_break_at():
    assert " " not in unbroken("layer 6 · value") and len(unbroken("layer 6 · value")) == 15
