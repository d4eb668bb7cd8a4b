import doctest

import pytest
from streamlit.testing.v1 import AppTest

from pages.parts.shared import link

#: By its name in the link, another value than the default, as a link has it.
OTHERS = {
    "model": "prajjwal1/bert-tiny",
    "text": "task",
    "task": "sst2",
    "seed": "7",
    "rank": "12",
    "trials": "3",
    "pictures": "svg",
    "view": "depth",
    "colour": "log",
    "scale": "family",
    "errors": "all",
    "against": "sentence",
    "module": "3",
    "budget": "parameters",
    "equal": "rank",
    "share": "family",
    "parameters": "90000",
    "min": "2",
    "max": "40",
    "temperature": "1.5",
    "alpha": "rslora",
    "pins": "3:12,7:4",
    "without": "5,6",
    "sort": "rank",
    "beside": "uniform",
    "run": "20261124-230929-000001-compare",
    "arms": "uniform,adarank,permuted",
    "seeds": "4,5",
    "steps": "20",
    "batch": "16",
    "rates": "growing",
    "rate": "0.002",
    "grid": "1e-3, 2e-3",
    "arm_trials": "6",
    "arm_alpha": "rslora",
    "metric": "test_accuracy",
    "smallest": "0.02",
    "side_by_side": "2",
    "curve": "train_loss",
    "smoothing": "0.3",
    "cost": "parameters",
    "secondary": "macro_f1",
    "study": "noise",
    "study_run": "20261124-230929-000001-lab",
    "reset.trials": "7",
    "step": "Noise",
    "group": "task",
    "only": "docstrings",
    "toy_rank": "32",
    "toy_one": "bert.encoder.layer.1.attention.self.key",
    "toy_another": "bert.encoder.layer.4.output.dense",
    "toy_pairs": "20",
    "toy_across": "sentence",
    "toy_upwards": "generic",
    "toy_equal": "parameters",
    "toy_alpha": "constant",
    "toy_seeds": "3",
    "toy_guess": "1",
    "toy_reset": "yes",
    "picked": "20261124-230929-000001-compare",
}


def page():
    import streamlit as st

    from pages.parts.shared import link

    st.session_state.said = link.adopt()


def opened(**query):
    at = AppTest.from_function(page, default_timeout=30)
    at.query_params |= query
    at.run()
    assert not at.exception
    return at


def test_examples():
    assert doctest.testmod(link).failed == 0


def test_every_choice_goes_into_the_link_and_out_of_it():
    settings = {name for name in link.LINK if "." in name}  # of studies, all of the same kinds
    assert set(OTHERS) - settings == set(link.LINK) - settings
    at = opened(**OTHERS)
    assert at.session_state.said == ""
    for name in OTHERS:
        one = link.LINK[name]
        assert at.session_state[one.key or name] != one.default, name
    assert at.query_params == OTHERS
    again = opened(**at.query_params)
    for name, one in link.LINK.items():
        assert again.session_state[one.key or name] == at.session_state[one.key or name]


def test_defaults_are_left_out():
    defaults = {
        name: one.to_text(one.default)
        for name, one in link.LINK.items()
        if one.default not in (None, "")
    }
    assert opened(**defaults).query_params == {}


@pytest.mark.parametrize("value", ["\0", "x" * 5000, ["1", "2"], "nan", "-1"])
def test_garbage_becomes_the_default_with_a_line(value):
    names = set(OTHERS)
    if value in ("nan", "-1"):  # which are words like others
        names -= {"model", "run", "study_run", "picked", "step", "seeds", "grid"}
        names -= {"toy_one", "toy_another"}
        names -= {"only"} if value == "-1" else set()
    at = opened(**dict.fromkeys(names, value))
    for name in names:
        one = link.LINK[name]
        assert at.session_state[one.key or name] == one.default
        assert f"{name}=" in at.session_state.said
    assert "the default is used" in at.session_state.said
    assert at.query_params == {}


def test_what_could_not_be_read_again_is_in_no_link():
    at = opened(seed="7")
    at.session_state["text-source.other_task"] = "/home/somebody/mine.csv"
    assert at.run().query_params == {"seed": "7"}


def test_all_that_is_refused_is_said_in_one_sentence():
    said = opened(seed="inf", trials="many", rank="12").session_state.said
    assert said == (
        "seed='inf' and trials='many' in the address cannot be chosen; the default is used."
    )


@pytest.mark.parametrize("model", ["somebody/else", "/", "."])
def test_behind_walls_no_link_names_what_is_not_offered(monkeypatch, model):
    """Nor does it tell a folder that is there from one that is not."""
    monkeypatch.setenv("ADARANK_DEMO", "1")
    at = opened(model=model, task="sst2")
    assert at.session_state.model == "embedded" and at.session_state.task == "docstrings"
    assert f"model='{model}' and task='sst2' in the address" in at.session_state.said


def test_what_others_have_in_the_address_stays():
    assert opened(room="blue", seed="7").query_params == {"room": "blue", "seed": "7"}
