import json
import shlex
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core.errors import AdaRankError
from pages.parts.shared import cached, phrases, state
from pages.parts.shared.state import example_scores, plain

APP = str(Path(__file__).resolve().parents[2] / "app.py")


@pytest.fixture
def explore(tiny_bert, tiny_task, monkeypatch):
    """The page, with a tiny model in the place of every model and a tiny task of every task."""
    from adarank_core.scoring.models import load_model

    labels_asked = []

    def model(name, labels=2):
        labels_asked.append(labels)
        return load_model(tiny_bert, labels)

    monkeypatch.setattr(cached, "model", model)
    monkeypatch.setattr(cached, "task", lambda name, progress=None: tiny_task)
    cached._scores.clear()
    at = unfolded(AppTest.from_file(APP, default_timeout=60)).run()
    at.labels_asked = labels_asked
    return at


def unfolded(at):
    """Open what is drawn only where it is open."""
    for key in ("explore_data", "again"):
        at.session_state[key] = True
    return at


def score(at):
    at.number_input(key="trials").set_value(2)
    button = next(b for b in at.button if b.label == "Score")
    at = button.click().run()
    assert not at.exception
    return at


def write(at, text):
    at.segmented_control(key="text").set_value("sentence").run()
    at.text_input(key="sentence").set_value(text)
    return at


def badge(at):
    return next(m.value for m in at.markdown if "-badge[" in m.value)


def picture(at):
    return json.loads(at.get("plotly_chart")[0].proto.spec)


def said_on(at):
    """What is written over the picture, beside its digits and its scale."""
    notes = picture(at)["layout"].get("annotations", [])
    return [note["text"].replace("<br>", " ") for note in notes if "name" not in note]


@pytest.mark.parametrize("source", ["generic", "task", "sentence"])
def test_the_stored_example_comes_first(explore, source):
    at = explore.segmented_control(key="text").set_value(source).run()
    scores = example_scores(source)
    assert "stored example" in badge(at)
    assert at.title[0].value == plain(phrases.score_finding(scores))
    assert len(at.dataframe[0].value) == 36
    assert picture(at)["data"][0]["customdata"][0][0].startswith("Noise on layer 1 · query")


def test_a_sentence_is_scored_shown_and_kept(explore):
    from adarank_core import score as core_score
    from adarank_core import sentence

    at = score(write(explore, "the cat sat on the sun"))
    assert "computed now" in badge(at)
    rows = at.dataframe[0].value
    expected = core_score(cached.model("any", 2), sentence("the cat sat on the sun"), trials=2)
    assert list(rows["disagreement"]) == [module.score for module in expected.modules]
    assert "the cat sat on the sun" in at.code[0].value
    assert "the cat sat on the sun" in at.code[1].value
    at.session_state["rank_rows"] = True
    at.switch_page("pages/ranks.py").run()
    at.segmented_control(key="text").set_value("sentence").run()
    assert "computed now" in badge(at)
    assert len(at.dataframe[0].value) == len(expected.modules)


def test_the_sentence_never_reaches_the_url_or_the_disk(explore, tmp_path, monkeypatch):
    from adarank_core.scoring import known_scores

    monkeypatch.setattr(known_scores, "scores_folder", lambda: tmp_path)
    at = score(write(explore, "a secret dog"))
    assert at.query_params == {"text": "sentence", "trials": "2"}
    files = [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()]
    assert len(files) == 2 and not any("secret" in text for text in files)


def test_the_same_question_is_answered_from_the_cache(explore, monkeypatch):
    score(write(explore, "the old bird sang"))
    monkeypatch.setattr(cached, "model", None)  # asking for a model would be an error
    at = score(explore)
    assert "from the cache" in badge(at)


def test_each_kind_of_text_keeps_what_was_computed(explore):
    at = score(explore)
    assert "computed now" in badge(at)
    at = at.segmented_control(key="text").set_value("sentence").run()
    assert "stored example" in badge(at)
    at = at.segmented_control(key="text").set_value("generic").run()
    assert "computed now" in badge(at)


def test_task_text_gets_a_head_of_the_tasks_classes(explore):
    from dataclasses import replace

    tiny = cached.task("docstrings")
    three = replace(tiny, label_names=("bad", "good", "other"))
    cached.task = lambda name, progress=None: three  # put back by the fixture's monkeypatch
    at = explore.segmented_control(key="text").set_value("task").run()
    at = score(at)
    assert explore.labels_asked == [3]
    assert "16 tiny texts" in at.caption[0].value
    assert "--task docstrings" in at.code[0].value


def test_what_was_not_scored_is_said(explore, monkeypatch):
    from dataclasses import replace

    plain_name, real = "layers.0.experts_*up*", state.example_scores
    assert not any("not scored" in caption.value for caption in explore.caption)
    monkeypatch.setattr(
        state, "example_scores", lambda source: replace(real(source), not_scored=(plain_name,))
    )
    at = explore.run()
    (said,) = [caption.value for caption in at.caption if "not scored" in caption.value]
    assert said.startswith(plain("1 × experts_*up*:"))


@pytest.mark.parametrize("text", ["   ", ""])
def test_a_blank_sentence_stands_for_the_stored_one(explore, text):
    at = score(write(explore, "the red cat"))
    assert any("the red cat" in words.value for words in at.markdown)
    at.text_input(key="sentence").set_value(text)
    at = score(at)
    assert "computed now" in badge(at)
    assert any(state.example_about()["sentence"] in words.value for words in at.markdown)


def only_the_error(at, said):
    """Whether the page tells an error, and shows no older picture that would be taken for it."""
    (error,) = at.error
    assert said in error.value
    assert not at.get("plotly_chart") and not at.code
    assert [title.value for title in at.title] == ["There are no scores of this"]
    return at


def test_a_sentence_past_the_models_length_is_one_sentence(explore):
    at = only_the_error(score(write(explore, "cat " * 400)), "tokens")
    at = only_the_error(at.run(), "tokens")
    at = at.segmented_control(key="text").set_value("generic").run()
    assert not at.error and picture(at)


def test_a_model_that_cannot_be_loaded_is_one_sentence(explore, monkeypatch):
    def broken(name, labels=2):
        raise AdaRankError(f"the model {name!r} cannot be loaded: no *such* model")

    monkeypatch.setattr(cached, "model", broken)
    only_the_error(score(explore), r"no \*such\* model")


def test_an_error_while_scoring_ends_it(explore, monkeypatch):
    from pages.parts.explore.scoring_job import ScoringJob

    def broken(job):
        raise AdaRankError("the logits are not finite")

    monkeypatch.setattr(ScoringJob, "advance", broken)
    at = only_the_error(score(explore), "The logits are not finite")
    assert "job" not in at.session_state
    monkeypatch.undo()


def test_what_is_older_than_its_settings_says_so_on_the_picture(explore):
    at = score(explore)
    assert said_on(at) == []
    at = at.number_input(key="seed").set_value(8).run()
    assert said_on(at) == ["This is seed 0 on generic text; press Score for seed 8."]
    at.switch_page("pages/ranks.py").run()
    (said,) = said_on(at)
    assert "Score on Explore for seed 8" in said
    at = at.number_input(key="seed").set_value(0).run()
    assert said_on(at) == []


def test_a_link_shows_the_numbers_that_were_computed_for_it(explore):
    at = score(explore.number_input(key="seed").set_value(8).run())
    shown, link = list(at.dataframe[0].value["disagreement"]), dict(at.query_params)
    cached._scores.clear()  # as after a new start
    other = unfolded(AppTest.from_file(APP, default_timeout=60))
    other.query_params |= link
    other.run()
    assert "from the cache" in badge(other)
    assert list(other.dataframe[0].value["disagreement"]) == shown


def test_a_fresh_link_of_the_embedded_model_starts_by_itself(explore):
    other = AppTest.from_file(APP, default_timeout=60)
    other.query_params |= {"seed": "9", "trials": "2"}
    assert "computed now" in badge(other.run())
    again = other.number_input(key="seed").set_value(10).run()
    assert said_on(again)  # from then on it is asked for


def test_a_task_without_its_file_is_not_scored_on_another(explore):
    at = explore.segmented_control(key="text").set_value("task").run()
    at = at.selectbox(key="task").select(state.OWN_FILE).run()
    assert "own file" in said_on(at)[0]
    only_the_error(score(at), "No file was read yet")


def test_a_scoring_that_was_interrupted_goes_on_and_can_be_cancelled(explore, monkeypatch):
    from pages.parts.explore.scoring_job import ScoringJob

    advance, steps = ScoringJob.advance, []

    def interrupted(job):
        steps.append(job.done)
        if len(steps) == 4:  # as a click elsewhere does: the script stops between two steps
            import streamlit as st

            st.stop()
        return advance(job)

    monkeypatch.setattr(ScoringJob, "advance", interrupted)
    at = score(explore)
    assert at.title[0].value.startswith("Scoring on 16 generic texts")
    assert "job" in at.session_state
    assert len([b for b in at.button if b.label == "Cancel"]) == 1
    at = at.run()
    assert steps[:5] == [0, 1, 2, 3, 3]  # went on where it was, not from the start
    assert "computed now" in badge(at)
    steps.clear()
    at = score(at.number_input(key="seed").set_value(1).run())
    at = next(b for b in at.button if b.label == "Cancel").click().run()
    assert "job" not in at.session_state
    assert len(steps) == 4  # nothing more was scored
    assert "computed now" in badge(at)


def test_the_files_hold_the_shown_scores(explore):
    at = score(explore)
    labels = [button.label for button in at.download_button]
    assert labels == ["scores.csv", "scores.json"]


@pytest.mark.parametrize("source", ["generic", "task", "sentence"])
def test_the_command_and_the_snippet_give_the_numbers_on_the_page(
    explore, source, tiny_bert, tiny_task, tmp_path, monkeypatch
):
    import adarank_core as ar
    from adarank_core import __main__
    from adarank_core.data import tasks
    from adarank_core.scoring import models

    load = models.load_model
    tiny = {
        "load_model": lambda name, labels=2, **given: load(tiny_bert, labels, **given),
        "load_task": lambda name, progress=None: tiny_task,
    }
    for module, name in ((models, "load_model"), (tasks, "load_task")):
        monkeypatch.setattr(module, name, tiny[name])
        monkeypatch.setattr(ar, name, tiny[name], raising=False)
    at = explore.number_input(key="seed").set_value(3).run()
    at = at.segmented_control(key="text").set_value(source).run()
    at = score(write(at, "the good sun") if source == "sentence" else at)
    shown = list(at.dataframe[0].value["disagreement"])
    names = {}
    exec(at.code[1].value, names)
    assert [module.score for module in names["scores"].modules] == shown
    monkeypatch.chdir(tmp_path)
    __main__.app(shlex.split(at.code[0].value)[3:], standalone_mode=False)
    written = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert [module["score"] for module in written["modules"]] == shown


def test_a_second_text_source_is_laid_beside_the_first(explore):
    at = score(explore)
    at = at.selectbox(key="against").select("task").run()
    assert at.query_params["against"] == "task" and len(at.get("plotly_chart")) == 1
    at = at.button(key="score_second").click().run()
    assert not at.exception
    first, second = (json.loads(chart.proto.spec) for chart in at.get("plotly_chart"))
    assert "computed now" in badge(at) and first["data"][0]["zmin"] == 0
    assert second["data"][0]["zmin"] == -second["data"][0]["zmax"]
    (said,) = [m.value for m in at.markdown if "Spearman" in m.value]
    assert said.startswith("**Generic text and task text order the modules")
    shares = at.dataframe[1].value
    shown = at.dataframe[0].value["disagreement"]
    assert list(shares["share on generic text"]) == pytest.approx(list(shown / shown.sum()))
    assert list(shares["difference"]) == pytest.approx(
        list(shares["share on task text"] - shares["share on generic text"])
    )
    at = at.number_input(key="seed").set_value(5).run()  # neither is of what is asked for
    assert len(at.get("plotly_chart")) == 1 and any("first" in c.value for c in at.caption)
    at = at.segmented_control(key="text").set_value("task").run()
    assert at.session_state["against"] == "nothing"


def test_a_second_source_that_cannot_be_scored_says_why(explore):
    at = score(explore).selectbox(key="against").select("task").run()
    at = at.selectbox(key="task").select(state.OWN_FILE).run()
    at = at.button(key="score_second").click().run()
    assert "No file was read yet" in at.error[0].value and picture(at)


def closer(at, tab):
    at.session_state["closer_view"] = tab
    at.run()
    assert not at.exception and not at.error
    return at


def test_one_module_is_looked_at_closely(explore):
    at = score(explore)
    modules = at.dataframe[0].value
    other = AppTest.from_file(APP, default_timeout=60)
    other.query_params |= {**at.query_params, "module": "4"}  # a link opens it
    at = other.run()
    assert not at.exception
    whole, texts = (json.loads(chart.proto.spec) for chart in at.get("plotly_chart"))
    assert whole["layout"]["shapes"] and len(texts["layout"]["yaxis"]["ticktext"]) == 16
    assert sum(texts["data"][1]["x"]) / 16 == pytest.approx(modules["disagreement"][4], rel=1e-5)
    at = closer(at, "What follows it")
    reach = json.loads(at.get("plotly_chart")[1].proto.spec)
    reached = [value for row in reach["data"][0]["z"] for value in row if value is not None]
    assert len(reached) == 7  # the feed-forward's second half, and the second layer
    at = closer(at, "Its weight's spectrum")
    assert len(json.loads(at.get("plotly_chart")[1].proto.spec)["data"][0]["y"]) == 32
    at = next(b for b in at.button if b.label == "Next").click().run()
    assert at.query_params["module"] == "5" and at.selectbox(key="module").value == 5
    assert any(modules["path"][5] in caption.value for caption in at.caption)


def test_a_module_that_the_model_does_not_have_is_not_looked_at(explore):
    other = AppTest.from_file(APP, default_timeout=60)
    other.query_params |= {"module": "99"}
    at = other.run()
    assert not at.exception and not at.error and len(at.get("plotly_chart")) == 1
    assert "module" not in at.query_params


def test_a_file_of_scores_has_no_texts_to_look_at(explore):
    at = score(explore)
    shown = at.session_state["scores"]["generic"]
    at.session_state["scores"]["generic"] = state.Shown(
        shown.scores, "your file", "generic", asked=shown.asked
    )
    at.session_state["module"] = 0
    at.run()
    assert not at.exception and "does not hold its texts" in at.error[0].value


def test_other_texts_than_were_scored_are_not_shown_for_them(explore, monkeypatch):
    from dataclasses import replace

    at = score(explore)
    shown = at.session_state["scores"]["generic"]
    other = replace(shown.scores, texts={**shown.scores.texts, "sha256": "00"})
    at.session_state["scores"]["generic"] = replace(shown, scores=other)
    at.session_state["module"] = 0
    assert "does not have" in at.run().error[0].value


def test_a_sentence_to_try_is_written_and_scored(explore):
    at = explore.segmented_control(key="text").set_value("sentence").run()
    at = at.button(key="try_1").click().run()
    written = at.text_input(key="sentence").value
    assert written == at.button(key="try_1").label and written.endswith("?")
    only_the_error(at, f"the first is '{written}'")  # a tiny model knows twenty words


def test_the_looks_of_the_pictures_are_in_the_link(explore):
    at = explore
    at.segmented_control(key="colour").set_value("log")
    at.segmented_control(key="scale").set_value("each family's own")
    at.segmented_control(key="errors").set_value("everywhere").run()
    assert at.query_params == {"colour": "log", "scale": "family", "errors": "all"}
    heat, dots = picture(at)["data"][:2]
    assert heat["zmax"] == 0 and len(dots["x"]) == 36
    at = at.segmented_control(key="pictures").set_value("SVG").run()
    chart = at.get("plotly_chart")[0].proto
    assert json.loads(chart.config)["toImageButtonOptions"]["format"] == "svg"
