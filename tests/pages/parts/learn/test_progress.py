import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.learn.lesson_data import lesson
from pages.parts.learn.progress import from_text, to_text

STEPS = lesson()["steps"]
IDS = [step["id"] for step in STEPS]


def page():
    import streamlit as st

    from pages.parts.learn import progress
    from pages.parts.learn.lesson_data import lesson

    steps = lesson()["steps"]
    progress.from_link(steps)
    for step in steps[:2]:
        key = progress.check_key(step["id"])
        st.radio(step["name"], range(3), index=None, key=key, persist_state="session")
    progress.to_link(steps)
    st.button("Forget", on_click=progress.clear, args=(steps,))


@pytest.mark.parametrize("given", [{}, {"rank": 0}, dict.fromkeys(IDS, 2), {"unknown": 1}])
def test_answers_come_back_from_their_text(given):
    text = to_text(given, STEPS)
    assert len(text) == len(STEPS)
    assert from_text(text, STEPS) == given


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("zzzz", {}),
        ("d-B", {}),  # no check has four answers
        ("<b>", {"noise": 1}),
        ("٣" + "-" * 7 + "b", {}),  # one sign too many
        ("b" * 99, dict.fromkeys(IDS, 1)),
    ],
)
def test_a_text_that_was_made_up_is_read_as_far_as_it_goes(text, found):
    assert from_text(text, STEPS) == found


def test_answers_go_from_the_link_to_the_page_and_back():
    at = AppTest.from_function(page, default_timeout=60)
    at.query_params["done"] = "b------c"
    at.run()
    assert at.radio(key="check_rank").value == 1 and at.radio(key="check_noise").value is None
    at.radio(key="check_noise").set_value(2).run()
    # The check of the last step is not drawn here, and is not lost either.
    assert at.query_params["done"] == "bc-----c"
    at.button[0].click().run()
    assert not at.exception and at.radio(key="check_rank").value is None
    assert "done" not in at.query_params
