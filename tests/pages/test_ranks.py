import json
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.allocation import allocate, lora_parameters
from pages.parts import state

APP = str(Path(__file__).resolve().parents[2] / "app.py")


@pytest.fixture
def ranks():
    at = AppTest.from_file(APP, default_timeout=60).run()
    at.switch_page("pages/ranks.py").run()
    assert not at.exception
    return at


def table(at):
    return at.dataframe[0].value


def metric(at, label):
    return next(m.value for m in at.metric if m.label.startswith(label))


def upload(at, content, name="scores.json"):
    return at.file_uploader(key="scores_file").set_value((name, content, "application/json")).run()


def test_the_stored_example_gets_its_ranks(ranks):
    scores = state.example_scores("generic")
    plan = allocate(scores, 8)
    assert list(table(ranks)["rank"]) == list(plan.ranks.values())
    assert sum(table(ranks)["rank"]) == 8 * 36
    assert metric(ranks, "LoRA parameters") == f"{lora_parameters(scores, plan.ranks):,}"
    assert metric(ranks, "Residual") == "0"
    assert f"rank {max(plan.ranks.values())}" in ranks.title[0].value
    assert any("stored example" in m.value for m in ranks.markdown)


@pytest.mark.parametrize("rank", [1, 16, 64])
def test_the_budget_slider_moves_ranks_and_the_uniform_line(ranks, rank):
    at = ranks.slider(key="rank").set_value(rank).run()
    assert sum(table(at)["rank"]) == rank * 36
    assert set(table(at)["uniform"]) == {rank}
    figure = json.loads(at.get("plotly_chart")[0].proto.spec)
    assert figure["data"][-1]["y"] == [rank, rank]
    assert len(at.slider) == 1  # the budget has one widget


def test_equal_parameters_are_equal(ranks):
    scores = state.example_scores("generic")
    at = ranks.segmented_control(key="equal").set_value("parameters").run()
    uniform = lora_parameters(scores, {module.name: 8 for module in scores.modules})
    step = max(module.in_features + module.out_features for module in scores.modules)
    assert 0 <= uniform - sum(table(at)["LoRA parameters"]) < step
    assert metric(at, "Against uniform") == "+0.0%"


def test_families_can_have_budgets_of_their_own(ranks):
    at = ranks.segmented_control(key="share").set_value("family").run()
    by_family = table(at).groupby(table(at)["module"].str.split(" · ").str[1])["rank"].sum()
    assert set(by_family) == {8 * 6}


def test_the_snippet_builds_the_config_of_the_shown_ranks(ranks):
    names = {}
    exec(ranks.code[0].value, names)
    config = names["config"]
    assert len(config.rank_pattern) == len(config.target_modules) == 36
    assert sorted(config.rank_pattern.values()) == sorted(table(ranks)["rank"])


def test_the_files_are_offered(ranks):
    labels = [button.label for button in ranks.download_button]
    assert labels == ["ranks.csv", "ranks.json", "adapter_config.json"]


def test_a_stored_file_becomes_the_current_scores(ranks, made_up):
    content = json.dumps(made_up(seed=3).to_dict()).encode()
    at = upload(ranks, content)
    assert not at.error
    assert list(table(at)["rank"]) == list(allocate(made_up(seed=3), 8).ranks.values())
    assert any("your file" in m.value for m in at.markdown)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "not a scores file"),
        (b'{"format": "adarank-scores/1"}', "'model'"),
    ],
)
def test_a_corrupt_file_is_one_sentence_and_the_plan_stays(ranks, content, said):
    before = list(table(ranks)["rank"])
    at = upload(ranks, content)
    (error,) = at.error
    assert said in error.value
    assert "/tmp" not in error.value  # where the file is kept is nobody's concern
    assert list(table(at)["rank"]) == before


def test_a_budget_that_cannot_be_met_is_one_sentence_and_the_last_plan_stays(ranks, made_up):
    small = replace(
        made_up(),
        modules=tuple(
            replace(module, in_features=12, out_features=12) for module in made_up().modules
        ),
    )
    at = upload(ranks, json.dumps(small.to_dict()).encode())
    before = list(table(at)["rank"])
    at = at.slider(key="rank").set_value(40).run()
    assert not at.exception
    (error,) = at.error
    assert "lower it" in error.value
    assert list(table(at)["rank"]) == before
    assert set(table(at)["uniform"]) == {8}
    assert any("average rank of 8" in caption.value for caption in at.caption)


def test_the_table_tells_what_peft_will_get(ranks):
    rows = table(ranks)
    assert list(rows.columns) == ["module", "rank", "uniform", "LoRA parameters", "alpha", "path"]
    assert list(rows["alpha"]) == [2 * rank for rank in rows["rank"]]
    assert rows["module"][0] == "layer 1 · query"
