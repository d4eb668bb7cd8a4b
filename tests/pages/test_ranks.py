import copy
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from peft import PeftModel
from streamlit.testing.v1 import AppTest

from adarank_core.ranks.allocation import RankPlan, allocate, lora_parameters
from adarank_core.ranks.export import adapter_config, starter_zip
from adarank_core.ranks.intervals import average_interval, rank_intervals
from adarank_core.ranks.verification import layers_of_model
from pages.parts.ranks import what_if
from pages.parts.shared import state, uploads

APP = str(Path(__file__).resolve().parents[2] / "app.py")


@pytest.fixture
def ranks():
    at = AppTest.from_file(APP, default_timeout=60).run()
    return opened(at)


def opened(at):
    """Go to the page, with all that is drawn only where it is open."""
    for key in ("config_lines", "elsewhere", "again", "rank_rows"):
        at.session_state[key] = True
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


def test_the_stored_example_gets_its_ranks_at_equal_parameters(ranks):
    scores = state.example_scores("generic")
    plan = allocate(scores, 8, budget_by="parameters")
    assert list(table(ranks)["rank"]) == list(plan.ranks.values())
    assert metric(ranks, "LoRA parameters") == f"{lora_parameters(scores, plan.ranks):,}"
    size = next(each for each in ranks.metric if each.label == "LoRA parameters")
    assert size.delta == "+0.0% against uniform"
    assert "left over: none of 331,776 parameters" in size.help
    assert any(
        "331,776 LoRA parameters, as many as uniform rank 8" in m.value for m in ranks.markdown
    )
    assert f"rank {max(plan.ranks.values())}" in ranks.title[0].value
    assert any("stored example" in m.value for m in ranks.markdown)


@pytest.mark.parametrize("rank", [1, 16, 64])
def test_the_budget_slider_moves_ranks_and_the_uniform_line(ranks, rank):
    at = ranks.slider(key="rank").set_value(rank).run()
    one = lora_parameters(state.example_scores("generic"), dict.fromkeys(table(at)["path"], 1))
    assert rank * one - 1920 < sum(table(at)["LoRA parameters"]) <= rank * one
    assert set(table(at)["uniform"]) == {rank}
    assert traces(at)[-1]["y"] == [rank, rank]
    assert [slider.key for slider in at.slider] == ["rank", "temperature"]  # one for the budget


def test_equal_sums_of_ranks_are_equal(ranks):
    at = ranks.segmented_control(key="equal").set_value("rank").run()
    assert sum(table(at)["rank"]) == 8 * 36
    assert list(table(at)["rank"]) == list(
        allocate(state.example_scores("generic"), 8).ranks.values()
    )
    delta = at.metric[0].delta
    assert delta == "+16.7% against uniform"  # why this is not the default


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
    assert labels == [*named, "Starter adapter (zip)"]


def test_a_stored_file_becomes_the_current_scores(ranks, made_up):
    content = json.dumps(made_up(seed=3).to_dict()).encode()
    at = upload(ranks, content)
    assert not at.error
    assert list(table(at)["rank"]) == list(
        allocate(made_up(seed=3), 8, budget_by="parameters").ranks.values()
    )
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
    one = round(2 * rows["rank"].mean())
    assert set(rows["alpha"]) == {one}
    assert list(rows["scaling"]) == pytest.approx([one / rank for rank in rows["rank"]])
    assert any("high ranks are scaled down" in caption.value for caption in at.caption)


def test_what_is_typed_is_pinned_and_the_others_share_the_rest(ranks):
    uniform = sum(table(ranks)["LoRA parameters"])
    at = edit(ranks, {0: {"rank": 20}, 3: {"rank": 0}})
    rows = table(at)
    assert (rows["rank"][0], rows["rank"][3]) == (20, 0)
    assert list(rows.index[rows["pinned"]]) == [0, 3]
    assert sum(rows["LoRA parameters"]) == pytest.approx(uniform, abs=1920)
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
    assert "beside the pinned modules" in error.value
    assert list(table(at)["refused"]) == ["", "not 380", *[""] * 34]  # beside the cell
    assert table(at).drop(columns="refused").equals(before)
    assert at.run().error  # as long as nothing else is asked for; the plan shown is a good one
    again = at.slider(key="temperature").set_value(0.9).run()
    assert not again.error and "refused" not in table(again)
    assert again.slider(key="temperature").set_value(1.0).run() and table(again).equals(before)


@pytest.mark.parametrize("typed", [385, 1000, -1, 2.5])
def test_a_pin_above_the_modules_size_is_refused_and_not_cut(ranks, typed):
    before = table(ranks)
    at = edit(ranks, {0: {"rank": typed}})
    (error,) = at.error
    assert f"is {typed}" in error.value.replace("\\", "")
    assert "a whole number of 0 to 384" in error.value.replace("\\", "")
    assert table(at)["refused"][0] == f"not {typed}"
    assert table(at).drop(columns="refused").equals(before)
    columns = json.loads(at.data_editor[0].proto.columns)
    config = columns["rank"]["type_config"]
    assert "max_value" not in config and "min_value" not in config  # the browser would cut


def test_modules_that_are_left_out_have_no_rank_and_the_others_share_theirs(ranks):
    before = table(ranks)
    at = edit(ranks, {0: {"left out": True}, 7: {"left out": True}})
    rows = table(at)
    scores = state.example_scores("generic")
    out = [rows["path"][0], rows["path"][7]]
    plan = allocate(scores, 8, budget_by="parameters", excluded=out)
    assert list(rows["rank"]) == list(plan.ranks.values())
    assert rows["rank"][0] == rows["rank"][7] == 0 and sum(rows["rank"]) >= sum(before["rank"]) - 9
    assert list(rows.index[rows["left out"]]) == [0, 7] and not rows["pinned"].any()
    assert any("2 left out" in text.value for text in at.markdown)
    names = {}
    exec(at.code[0].value, names)
    assert len(names["config"].target_modules) == 34
    at = edit(at, {0: {"rank": 5}})  # the last wish counts
    assert table(at)["rank"][0] == 5 and table(at)["pinned"][0] and not table(at)["left out"][0]
    at = at.button(key="rank_reset").click().run()
    assert table(at).equals(before)


def test_leaving_out_all_modules_is_refused(ranks):
    at = edit(ranks, {row: {"left out": True} for row in range(36)})
    (error,) = at.error
    assert "All 36 modules are excluded" in error.value
    assert set(table(at)["refused"]) == {"not out"} and not table(at)["left out"].any()


def test_pins_and_what_is_left_out_are_marked_in_the_chart(ranks):
    assert {trace["name"] for trace in traces(ranks)}.isdisjoint({"pinned", "left out"})
    at = edit(ranks, {0: {"rank": 20}, 3: {"left out": True}})
    marks = {trace["name"]: trace for trace in traces(at)}
    assert marks["pinned"]["y"] == [20] and marks["left out"]["y"] == [0]
    query = next(trace for trace in traces(at) if trace["name"] == "query")
    assert marks["pinned"]["x"] == query["x"][:1]
    assert "It is pinned." in query["customdata"][0]


@pytest.mark.parametrize("kind", ["parameters", "adaptive"])
def test_there_is_one_budget_and_the_slider_comes_back_as_it_was(ranks, kind):
    at = ranks.slider(key="rank").set_value(16).run()
    at = at.segmented_control(key="budget").set_value(kind).run()
    assert [slider.key for slider in at.slider] == ["temperature"]
    if kind == "parameters":
        one = lora_parameters(state.example_scores("generic"), dict.fromkeys(table(at)["path"], 1))
        assert at.number_input(key="parameters").value == 16 * one
    at = at.segmented_control(key="budget").set_value("rank").run()
    assert at.slider(key="rank").value == 16


def test_the_starter_adapter_is_one_that_peft_goes_on_from(ranks, embedded, tmp_path):
    at = edit(ranks, {0: {"rank": 20}, 3: {"left out": True}})
    scores = state.example_scores("generic")
    options = at.session_state["planned"].options
    content = starter_zip(allocate(scores, **options), scores)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "starter-adapter"
    adapted = PeftModel.from_pretrained(copy.deepcopy(embedded.model), folder, is_trainable=True)
    found = layers_of_model(adapted)
    shown = dict(zip(table(at)["path"], table(at)["rank"], strict=True))
    assert {name: layer.rank for name, layer in found.items()} == {
        name: rank for name, rank in shown.items() if rank
    }


def test_every_program_has_its_tab(ranks):
    tabs = {tab.label: tab for tab in ranks.tabs}
    assert list(tabs) == ["PEFT", "TRL", "axolotl", "LLaMA-Factory", "Unsloth", "vLLM"]
    for name, tab in tabs.items():
        (code,) = tab.code
        assert "embedded" not in code.value
        assert "MiniLM-L6" in code.value or name == "Unsloth"  # which reads it from the folder


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
    at = opened(at.run())
    assert at.title[0].value == "No plan meets these wishes"
    at = at.number_input(key="max").set_value(12).run()
    assert table(at)["rank"].max() == 12


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
    intervals = rank_intervals(state.example_scores("generic"), 8, budget_by="parameters")
    settled = sum(low == high for low, high in intervals.values())
    assert 0 < settled < 36
    assert metric(ranks, "Settled") == f"{settled} of 36"
    whiskers = traces(ranks)[0]["error_y"]
    of_queries = [intervals[name] for name in list(intervals)[::6]]
    spread = [up + down for up, down in zip(whiskers["array"], whiskers["arrayminus"], strict=True)]
    assert spread == [high - low for low, high in of_queries]


def test_the_bars_do_not_wait_for_their_whiskers(ranks, monkeypatch):
    monkeypatch.setattr(what_if, "measure", lambda scores, now: st.stop())
    ranks.session_state["rank_rows"] = False
    at = ranks.slider(key="rank").set_value(5).run()
    plan = allocate(state.example_scores("generic"), 5, budget_by="parameters")
    assert traces(at)[0]["y"] == list(plan.ranks.values())[::6]
    assert metric(at, "Settled") == "… of 36"
    assert not traces(at)[0]["error_y"].get("array")


def test_a_plan_that_cannot_be_handed_over_says_so_before_its_whiskers_are_there(
    ranks, monkeypatch
):
    monkeypatch.setattr(uploads, "MOST_UPLOADED", 0)
    ranks.session_state["rank_rows"] = False
    ranks.slider(key="rank").set_value(5)
    at = ranks.button(key="ranks_compare").click().run()
    assert [error.value for error in at.error if "uploads of this session" in error.value]


def test_uniform_ranks_lie_beside(ranks):
    at = ranks.segmented_control(key="beside").set_value("uniform").run()
    assert set(table(at)["beside: uniform, rank 8"]) == {8}
    assert traces(at)[-1]["marker"]["symbol"] == "diamond"


def test_what_is_shown_is_remembered_beside_what_is_made_of_it(ranks):
    before = list(table(ranks)["rank"])
    at = ranks.segmented_control(key="beside").set_value("these, as they are now").run()
    at = edit(at, {0: {"rank": 20}})
    assert list(table(at)["beside: kept ranks"]) == before != list(table(at)["rank"])
    at = at.button(key="remember").click().run()
    assert list(table(at)["beside: kept ranks"]) == list(table(at)["rank"])


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
    assert at.checkbox(key="compare_arm_uniform").value  # it is Compare by now
    assert at.number_input(key="seed").value == 5


def test_a_link_has_what_was_pinned_and_left_out():
    at = AppTest.from_file(APP, default_timeout=60)
    at.query_params |= {"pins": "3:12", "without": "5,6"}
    at = opened(at.run())
    names = [module.name for module in state.example_scores("generic").modules]
    plan = allocate(
        state.example_scores("generic"),
        8,
        budget_by="parameters",
        pinned={names[3]: 12},
        excluded=[names[5], names[6]],
    )
    assert list(table(at)["rank"]) == [plan.ranks.get(name, 0) for name in names]
    assert "1 rank is pinned by hand" in at.title[0].value
    edit(at, {5: {"left out": False}, 0: {"rank": 4}})
    assert at.query_params == {"pins": "0:4,3:12", "without": "6"}


@pytest.mark.parametrize(
    "link", [{"pins": "0:4096"}, {"without": ",".join(map(str, range(36)))}], ids=str
)
def test_who_came_by_a_link_that_cannot_be_met_gets_out_of_it(link):
    at = AppTest.from_file(APP, default_timeout=60)
    at.query_params |= link
    at = at.run().switch_page("pages/ranks.py").run()
    assert at.error and not at.data_editor and not at.exception
    at = at.button(key="rank_let_go").click().run()
    assert not at.error and "rank 26" in at.title[0].value and not at.query_params
