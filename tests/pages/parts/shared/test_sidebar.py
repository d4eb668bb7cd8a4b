from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.shared import state

STORED = state.example_about()["sentence"]
MOODS = "text,label\n" + "".join(
    f"I am {mood} {at}.,{mood}\n" for at in range(60) for mood in ("glad", "sad")
)


def page():
    """Draw the sidebar, and keep what it gave where a test can read it."""
    import streamlit as st

    from pages.parts.shared import state
    from pages.parts.shared.sidebar import sidebar

    state.open_page()
    st.session_state.given = sidebar()


@pytest.fixture
def sidebar():
    return AppTest.from_function(page, default_timeout=30)


def given(at):
    assert not at.exception
    return at.session_state.given


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


@pytest.mark.parametrize(
    ("uses", "text", "drawn"),
    [
        ((), "task", set()),
        (("text",), "generic", {"text"}),
        (("text",), "task", {"text", "task"}),  # it says which task's
        (("task", "rank"), "generic", {"task", "rank"}),
    ],
)
def test_only_what_a_page_uses_is_drawn_and_the_rest_is_as_it_was_chosen(uses, text, drawn):
    def page(uses):
        import streamlit as st

        from pages.parts.shared import state
        from pages.parts.shared.sidebar import sidebar

        state.open_page()
        st.session_state.given = sidebar(uses)

    at = AppTest.from_function(page, args=(uses,), default_timeout=30)
    wanted = {"model": "prajjwal1/bert-tiny", "text": text, "task": "trec", "seed": "5"}
    at.query_params |= wanted | {"rank": "16"}
    choice = given(at.run())
    assert choice == state.Choice("prajjwal1/bert-tiny", text, "trec", 5, 16, None, STORED)
    kinds = (at.selectbox, at.number_input, at.slider, at.button_group)
    assert {one.key for kind in kinds for one in kind} == {*drawn, "pictures"}
