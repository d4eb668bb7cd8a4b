import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.shared import cached


def page():
    import streamlit as st

    from pages.parts.explore.scored_texts import draw_texts

    draw_texts(st.session_state.shown)


@pytest.fixture
def drawn(tiny_bert, monkeypatch):
    from adarank_core.data.texts import sentence
    from adarank_core.scoring.models import load_model
    from adarank_core.scoring.scores import Scores, origin_of
    from pages.parts.shared.state import Shown

    monkeypatch.setattr(cached, "model", lambda name, labels: load_model(tiny_bert, labels))

    def draw(text):
        scores = Scores("any", "paper", "fast", 1.0, 0, origin_of(sentence(text)), ())
        at = AppTest.from_function(page, default_timeout=30)
        at.session_state["shown"] = Shown(scores, "computed now", "sentence", text)
        at.session_state["texts_seen"] = True
        at.run()
        assert not at.exception
        return at

    return draw


def test_tokens_are_shown_as_they_are_read_and_special_ones_in_colour(drawn):
    at = drawn("the *red* cat")
    (tokens,) = [m.value for m in at.markdown if "-badge[" in m.value]
    assert tokens.split(" ") == [
        r":violet-badge[\[CLS\]]",
        ":gray-badge[the]",
        r":violet-badge[\[UNK\]]",
        ":gray-badge[red]",
        r":violet-badge[\[UNK\]]",
        ":gray-badge[cat]",
        r":violet-badge[\[SEP\]]",
    ]
    assert at.dataframe[0].value["tokens"].tolist() == [7]
    assert "reads 7 tokens" in at.markdown[0].value
