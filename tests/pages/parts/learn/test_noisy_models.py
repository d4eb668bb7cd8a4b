import pytest
from streamlit.testing.v1 import AppTest

VALUE = "bert.encoder.layer.{}.attention.self.value"


def page():
    import streamlit as st

    from pages.parts.learn.noisy_models import choose_modules
    from pages.parts.shared import state
    from pages.parts.shared.link import adopt

    adopt()
    drawn, names, noisy = choose_modules(state.example_scores("generic").modules)
    st.session_state.shown = (sorted(drawn.noisy), names, noisy)


@pytest.fixture
def choice():
    at = AppTest.from_function(page, default_timeout=60).run()
    assert not at.exception
    return at


def test_two_modules_of_the_stored_sentence_are_shown_at_first(choice):
    drawn, names, noisy = choice.session_state.shown
    assert names == [VALUE.format(0), VALUE.format(5)] and len(drawn) == 36
    assert [module.label for module in noisy] == ["layer 1 · value", "layer 6 · value"]
    assert len({module.colour for module in noisy}) == 1  # one family


def test_a_module_that_is_chosen_twice_is_shown_once(choice):
    choice.selectbox(key="lesson_another").set_value(VALUE.format(0)).run()
    assert not choice.exception
    _, names, noisy = choice.session_state.shown
    assert names == [VALUE.format(0)] and len(noisy) == 1
