import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.ranks.allocation import RankPlan, allocate, lora_parameters
from adarank_core.ranks.export import adapter_config
from adarank_core.ranks.intervals import average_interval, rank_intervals
from pages.parts.shared import state

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


def upload(at, content, name="scores.json", key="scores_file"):
    return at.file_uploader(key=key).set_value((name, content, "application/json")).run()


def edit(at, rows):
    """Type into the table, as the browser tells it."""
    changes = {"edited_rows": rows, "added_rows": [], "deleted_rows": []}
    at.session_state[at.data_editor[0].key] = changes
    return at.run()


def traces(at):
    return json.loads(at.get("plotly_chart")[0].proto.spec)["data"]


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
    assert traces(at)[-1]["y"] == [rank, rank]
    assert [slider.key for slider in at.slider] == ["rank", "temperature"]  # one for the budget


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
    named = ["ranks.json", "adapter_config.json", "lora_config.py", "ranks.csv", "report.html"]
    assert labels == named


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
    assert list(rows["alpha"]) == [2 * rank for rank in rows["rank"]]
    assert set(rows["scaling"]) == {2}
    assert rows["module"][0] == "layer 1 · query"
    assert not rows["pinned"].any()


def test_a_constant_alpha_scales_high_ranks_down(ranks):
    at = ranks.segmented_control(key="alpha").set_value("constant").run()
    rows = table(at)
    assert set(rows["alpha"]) == {16}
    assert list(rows["scaling"]) == pytest.approx([16 / rank for rank in rows["rank"]])
    assert any("high ranks are scaled down" in caption.value for caption in at.caption)


def test_what_is_typed_is_pinned_and_the_others_share_the_rest(ranks):
    at = edit(ranks, {0: {"rank": 20}, 3: {"rank": 0}})
    rows = table(at)
    assert (rows["rank"][0], rows["rank"][3]) == (20, 0)
    assert list(rows.index[rows["pinned"]]) == [0, 3]
    assert sum(rows["rank"]) == 8 * 36
    assert set(rows["may be"][rows["pinned"]]) == {"settled"}
    at = edit(at, {5: {"pinned": True}, 3: {"pinned": False}})
    assert list(table(at).index[table(at)["pinned"]]) == [0, 5]
    assert table(at)["rank"][5] == rows["rank"][5]
    assert table(at)["rank"][3] > 0
    names = {}
    exec(at.code[0].value, names)  # what is exported is what is shown
    assert list(names["config"].rank_pattern.values()) == list(table(at)["rank"])


def test_pins_follow_their_modules_into_another_order(ranks):
    at = edit(ranks, {0: {"rank": 20}})
    path = table(at)["path"][0]
    at = at.segmented_control(key="sort").set_value("rank").run()
    rows = table(at)
    assert rows["rank"].is_monotonic_decreasing
    assert list(rows["path"][rows["pinned"]]) == [path]
    at = edit(at, {0: {"rank": 10}})
    assert set(table(at)["path"][table(at)["pinned"]]) == {path, rows["path"][0]}


def test_reset_lets_go_of_every_pin(ranks):
    before = list(table(ranks)["rank"])
    assert ranks.button(key="rank_reset").disabled
    at = edit(ranks, {0: {"rank": 20}})
    at = at.button(key="rank_reset").click().run()
    assert list(table(at)["rank"]) == before
    assert not table(at)["pinned"].any()


def test_a_rank_that_no_plan_can_have_is_refused_and_other_pins_stay(ranks):
    at = edit(ranks, {0: {"rank": 20}})
    before = table(at)
    at = edit(at, {1: {"rank": 380}})
    (error,) = at.error
    assert "conflicts with the pinned ranks" in error.value
    assert table(at).equals(before)
    assert not at.run().error  # said once; the plan that is shown is a good one


@pytest.mark.parametrize("key, value", [("max", 3), ("min", 9)])
def test_bounds_that_the_budget_cannot_meet_leave_the_last_plan(ranks, key, value):
    before = list(table(ranks)["rank"])
    at = ranks.number_input(key=key).set_value(value).run()
    (error,) = at.error
    assert f"{key}\\_rank {value}" in error.value
    assert list(table(at)["rank"]) == before
    assert not at.exception


def test_a_link_to_wishes_that_cannot_be_met_still_opens():
    at = AppTest.from_file(APP, default_timeout=60)
    at.query_params["max"] = "3"
    at = at.run().switch_page("pages/ranks.py").run()
    assert not at.exception
    assert at.title[0].value == "No plan meets these wishes"
    at = at.number_input(key="max").set_value(30).run()
    assert table(at)["rank"].max() == 30


def test_bounds_and_temperature_are_met(ranks):
    at = ranks.number_input(key="max").set_value(12).run()
    assert table(at)["rank"].max() == 12
    at = at.slider(key="temperature").set_value(0.0).run()
    assert set(table(at)["rank"]) == {8}


def test_a_budget_of_parameters_starts_at_uniform(ranks):
    at = ranks.segmented_control(key="budget").set_value("parameters").run()
    scores = state.example_scores("generic")
    uniform = lora_parameters(scores, {module.name: 8 for module in scores.modules})
    assert at.number_input(key="parameters").value == uniform
    at = at.number_input(key="parameters").set_value(uniform // 2).run()
    plan = allocate(scores, parameters=uniform // 2)
    assert list(table(at)["rank"]) == list(plan.ranks.values())
    assert set(table(at)["uniform"]) == {4}


def test_adaptive_tells_its_average_and_its_unit(ranks):
    at = ranks.segmented_control(key="budget").set_value("adaptive").run()
    plan = allocate(state.example_scores("generic"), adaptive=True)
    assert list(table(at)["rank"]) == list(plan.ranks.values())
    (said,) = [text.value for text in at.markdown if "No budget" in text.value]
    assert f"average **{plan.budget['average_rank']:.3g}**" in said
    lowest = sorted(module.score for module in state.example_scores("generic").modules)[3:5]
    unit = float(re.search(r"worth a score of ([\d.]+\d)", said)[1])  # of three digits
    assert 0.995 * lowest[0] <= unit <= 1.005 * lowest[1]
    low, high = average_interval(state.example_scores("generic"))
    assert f"would be from {low:.3g} to {high:.3g}" in said
    at = at.segmented_control(key="share").set_value("family").run()
    assert not at.exception and not at.error


def test_costs_are_counted_from_the_parameters(ranks):
    used = int(metric(ranks, "LoRA parameters").replace(",", ""))
    assert metric(ranks, "Adapter") == f"{used * 4 / 1e6:.2f} MB"
    assert metric(ranks, "Optimizer") == f"{used * 12 / 1e6:.2f} MB"
    intervals = rank_intervals(state.example_scores("generic"), 8)
    settled = sum(low == high for low, high in intervals.values())
    assert 0 < settled < 36
    assert metric(ranks, "Settled") == f"{settled} of 36"
    whiskers = traces(ranks)[0]["error_y"]
    of_queries = [intervals[name] for name in list(intervals)[::6]]
    spread = [up + down for up, down in zip(whiskers["array"], whiskers["arrayminus"], strict=True)]
    assert spread == [high - low for low, high in of_queries]


def test_uniform_ranks_lie_beside(ranks):
    at = ranks.segmented_control(key="beside").set_value("uniform").run()
    assert set(table(at)["beside: uniform, rank 8"]) == {8}
    assert traces(at)[-1]["marker"]["symbol"] == "diamond"


def test_what_is_shown_is_remembered_beside_what_is_made_of_it(ranks):
    before = list(table(ranks)["rank"])
    at = ranks.segmented_control(key="beside").set_value("what is shown now").run()
    at = edit(at, {0: {"rank": 20}})
    assert list(table(at)["beside: remembered"]) == before != list(table(at)["rank"])
    at = at.button(key="remember").click().run()
    assert list(table(at)["beside: remembered"]) == list(table(at)["rank"])


def test_a_plan_from_a_file_lies_beside_and_a_bad_one_loses_nothing(ranks):
    scores = state.example_scores("generic")
    ramp = allocate(scores, 4, temperature=2.0)
    at = ranks.segmented_control(key="beside").set_value("a file").run()
    other = {**ramp.to_dict(), "model": "another"}
    at = upload(at, json.dumps(other).encode(), "ranks.json", "beside_file")
    assert list(table(at)["beside: your file"]) == list(ramp.ranks.values())
    (warning,) = at.warning
    assert "another" in warning.value
    other["ranks"] = {"no.such": 4}
    other["alpha"] = {"no.such": 8}
    at = upload(at, json.dumps(other).encode(), "ranks.json", "beside_file")
    (error,) = at.error
    assert "/tmp" not in error.value
    assert list(table(at)["beside: your file"]) == list(ramp.ranks.values())


def test_an_adapter_lies_beside_too(ranks):
    scores = state.example_scores("generic")
    ramp = allocate(scores, 4)
    at = ranks.segmented_control(key="beside").set_value("a file").run()
    content = adapter_config(ramp).encode()
    at = upload(at, content, "adapter_config.json", "beside_file")
    assert not at.error and not at.warning
    assert list(table(at)["beside: your file"]) == list(ramp.ranks.values())


def test_edited_ranks_go_to_compare_as_an_arm(ranks):
    ranks.number_input(key="seed").set_value(5)  # it is in the URL from now on
    at = edit(ranks, {0: {"rank": 20}})
    shown = list(table(at)["rank"])
    at = at.button(key="ranks_compare").click().run()
    assert not at.exception
    path = Path(at.session_state["compare_own_plan"])
    assert path.name == "edited-ranks.json"
    plan = RankPlan.from_dict(json.loads(path.read_text(encoding="utf-8")))
    assert shown[0] == 20
    assert list(plan.ranks.values()) == shown
    assert "arms" in [box.label.lower() for box in at.multiselect]  # it is Compare by now
    assert at.number_input(key="seed").value == 5
