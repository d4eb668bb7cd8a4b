import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from adarank_core import allocate
from adarank_core.comparison.sentences import describe
from adarank_core.comparison.verdicts import Verdict
from adarank_core.files import read_json
from adarank_core.numerals import signed
from adarank_core.scoring.lesson import NoisyLogits, energy_kept, mean_shift, pair_distances
from pages.parts.learn.lesson_data import evidence
from pages.parts.learn.lesson_data import lesson as words_of
from pages.parts.learn.rooms import ROOMS, Attendee, name_of, new_key
from pages.parts.shared import state

ROOT = Path(__file__).resolve().parents[2]
LESSON = ROOT / "assets" / "lesson"
VALUE = "bert.encoder.layer.{}.attention.self.value"
STEPS = words_of()["steps"]


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\\", "")


def said(page):
    return " ".join(plain(" ".join(element.value for element in page.markdown)).split())


@pytest.fixture
def lesson(monkeypatch):
    # AppTest takes a page for one of Streamlit's old pages folder, again at every run; what the
    # sidebar does about that would swallow the clicks on a form.
    pages_manager = SimpleNamespace(uses_pages_directory=False)
    monkeypatch.setattr(state, "PagesManager", pages_manager, raising=False)
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    return page.switch_page("pages/learn.py").run()


def opened(page, step):
    page.button_group(key="step").set_value(step).run()
    assert not page.exception
    return page


def stored():
    return NoisyLogits(**read_json(LESSON / "noisy-logits.json"))


def test_stored_files_are_small_and_complete():
    assert sum(file.stat().st_size for file in LESSON.iterdir()) < 200_000  # with the words
    modules = {module.name for module in state.example_scores("generic").modules}
    assert set(stored().noisy) == modules
    assert read_json(LESSON / "spectrum.json")["module"] in modules


def test_stored_draws_are_those_of_the_model(embedded):
    from adarank_core.scoring.lesson import noisy_logits

    name = VALUE.format(5)
    drawn = noisy_logits(embedded, stored().sentence, [name], instances=4)
    assert drawn.clean == pytest.approx(stored().clean, abs=1e-5)
    for now, then in zip(drawn.noisy[name], stored().noisy[name], strict=False):
        assert now == pytest.approx(then, abs=1e-5)


def test_stored_spectrum_is_that_of_the_weight(embedded):
    spectrum = read_json(LESSON / "spectrum.json")
    weight = embedded.model.get_submodule(spectrum["module"]).weight.detach().double()
    assert tuple(weight.shape) == (spectrum["out_features"], spectrum["in_features"])
    energy = sum(value**2 for value in spectrum["singular_values"])
    assert energy == pytest.approx(float((weight**2).sum()), rel=1e-5)


def test_the_first_step_counts_what_lora_learns(lesson):
    kept = energy_kept(read_json(LESSON / "spectrum.json")["singular_values"])
    assert "**15,360** numbers" in said(lesson)
    assert f"only {kept[7]:.0%} of its energy" in said(lesson)
    lesson.select_slider(key="lesson_rank").set_value(384).run()
    assert "384 × (1,536 + 384) = **737,280**" in said(lesson)
    assert "more than the weight itself" in said(lesson)


def test_a_link_shows_the_toys_as_they_were_set(lesson):
    lesson.select_slider(key="lesson_rank").set_value(32).run()
    page = opened(lesson, "Reset")
    page.radio(key="lesson_prediction").set_value(0).run()
    page.toggle(key="lesson_reset").set_value(True).run()
    toys = {"toy_rank": "32", "toy_guess": "0", "toy_reset": "yes"}
    assert toys == {name: page.query_params[name] for name in toys}
    fresh = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    fresh.query_params |= {**page.query_params, "toy_across": "sentence", "toy_pairs": "999"}
    fresh.run().switch_page("pages/learn.py").run()
    assert plain(fresh.header[0].value) == plain(page.header[0].value)
    assert said(fresh).endswith(said(page)[-200:]) and fresh.toggle(key="lesson_reset").value
    assert opened(fresh, "Texts").header[0].value.startswith("One sentence")
    # More pairs than there are: as many as usual.
    assert opened(fresh, "Score").slider(key="lesson_pairs").value == 10


def test_the_second_step_says_what_the_draws_say(lesson):
    drawn = stored()
    near, far = (mean_shift(drawn.noisy[VALUE.format(at)], drawn.clean) for at in (0, 5))
    page = opened(lesson, "Noise")
    assert plain(page.header[0].value) == (
        f"Noise on layer 6 · value moves the answer about {far / near:.0f} times as far "
        "as noise on layer 1 · value"
    )
    assert f"{near:.3g} with noise on layer 1 · value" in said(page)
    page.selectbox(key="lesson_another").set_value(VALUE.format(0)).run()
    assert not page.exception
    assert plain(page.header[0].value).startswith("Noise on layer 1 · value moves the answer by")


def test_the_third_step_is_done_by_hand(lesson):
    """From the rounded logits that are shown, as somebody with a pencil would."""
    page = opened(lesson, "Score")
    table = page.dataframe[0].value
    for label in ("layer 1 · value", "layer 6 · value"):
        rows = table[table["noise on"] == label][["logit 1", "logit 2"]].to_numpy().tolist()
        pairs = [(rows[0], rows[1]), (rows[2], rows[3])]
        both = sum(abs(a - b) for one, two in pairs for a, b in zip(one, two, strict=True))
        box = page.number_input(key=f"lesson_by_hand_{label}")
        box.set_value(float(both)).run()
        assert len(page.warning) == 1 and "take their mean" in page.warning[0].value
        box.set_value(both / 2).run()
        assert not page.warning and f"in the mean {both / 2:.1f}" in page.success[-1].value
    assert len(page.success) == 2


def test_the_third_step_says_what_the_pairs_say(lesson):
    page = opened(lesson, "Score")
    distances = pair_distances(stored().noisy[VALUE.format(5)])
    for pairs in (10, len(distances)):
        page.slider(key="lesson_pairs").set_value(pairs).run()
        found = re.search(r"\*\*([\d.]+) ± ([\d.]+)\*\* for layer 6 · value", said(page))
        mean, error = distances[:pairs].mean(), distances[:pairs].std(ddof=1) / pairs**0.5
        assert [float(number) for number in found.groups()] == pytest.approx(
            [mean, error], rel=0.06
        )


def test_steps_two_and_three_have_one_figure_and_tell_why_they_differ(lesson):
    drawn = stored()
    near, far = (drawn.noisy[VALUE.format(at)] for at in (0, 5))
    star = mean_shift(far, drawn.clean) / mean_shift(near, drawn.clean)
    pairs = pair_distances(far).mean() / pair_distances(near).mean()
    ratios = []
    for step in ("Noise", "Score"):
        page = opened(lesson, step)
        ratios.append(re.search(r"about (\d+) times", page.header[0].value)[1])
    assert ratios == [f"{star:.0f}", f"{pairs:.0f}"]
    assert ratios[0] == ratios[1]
    found = re.search(r"ratio ([\d.]+) ± ([\d.]+) after 10 pairs, and ([\d.]+) ±", said(page))
    assert float(found[3]) == pytest.approx(pairs, abs=0.06)
    assert abs(float(found[1]) - pairs) < 2 * float(found[2])


def test_the_fourth_step_compares_orders(lesson):
    from scipy.stats import spearmanr

    page = opened(lesson, "Texts")
    for one, other in (("generic", "task"), ("sentence", "task")):
        page.selectbox(key="lesson_across").set_value(one).run()
        page.selectbox(key="lesson_upwards").set_value(other).run()
        scores = [state.example_scores(source) for source in (one, other)]
        values = [[module.score for module in each.modules] for each in scores]
        assert spearmanr(*values).statistic > 0.95  # what "nearly one order" claims
        assert f"{spearmanr(*values).statistic:.3f}" in page.header[0].value
        ranks = [allocate(each, 8).ranks for each in scores]
        same = sum(ranks[0][name] == ranks[1][name] for name in ranks[0])
        assert f"{same} of 36 modules get the same rank" in said(page)


def test_the_fifth_step_shares_out_live(lesson):
    page = opened(lesson, "Budget")
    scores = state.example_scores("generic")
    for average, by in ((8, "rank"), (3, "rank"), (8, "parameters")):
        page.slider(key="rank").set_value(average)
        page.button_group(key="lesson_equal").set_value(by).run()
        assert not page.exception
        plan = allocate(scores, average, budget_by=by)
        assert f"36 modules × {average} = {36 * average:,}" in said(page)
        assert f"AdaRank learns {plan.budget['lora_parameters']:,} numbers" in said(page)
        assert f"ranks sum to **{sum(plan.ranks.values()):,}**" in said(page)
    page.selectbox(key="lesson_alpha").set_value("constant").run()
    high, low = page.dataframe[-1].value.to_dict("records")
    assert high["rank"] > low["rank"] and high["alpha"] == low["alpha"]
    assert high["scaling"] == pytest.approx(high["alpha"] / high["rank"], abs=0.006)


def test_the_sixth_step_reads_the_stored_verdict_and_tells_three_stories(lesson):
    page = opened(lesson, "Fair test")
    verdict = Verdict.from_dict(read_json(state.example_run().folder / "verdict.json"))
    for compared in verdict.primary:
        assert describe(compared, verdict) in said(page)
    told = [caption.value for caption in page.caption if caption.value.startswith("Source")]
    assert len(told) == 3
    # What the stories claim: a win at a low rate that step sizes explain, and two ties.
    rows = evidence()
    low, steps, best = (
        rows[name] for name in ("low-adarank", "low-scale-only", "docstrings-uniform")
    )
    assert low["verdict"] == steps["verdict"] == "better"
    assert steps["difference"] < 0.8 * low["difference"] and best["ci_low"] < 0 < best["ci_high"]
    assert rows["docstrings-permuted"]["difference"] <= best["difference"]
    assert rows["trec-uniform"]["verdict"] == "no practical difference"
    for row in (low, steps, best):
        assert f"{row['difference']:.3f}".replace("-", "−") in said(page)
    page.slider(key="lesson_seeds").set_value(1).run()
    assert not page.exception
    assert page.header[0].value.count("one seed decides nothing") == 2


def test_the_seventh_step_shows_nothing_before_a_prediction(lesson):
    page = opened(lesson, "Reset")
    scans = read_json(LESSON / "reset.json")["curves"]

    def lines():
        figure = json.loads(page.get("plotly_chart")[0].proto.spec)
        return [trace["name"] for trace in figure["data"]]

    assert len(lines()) == 1 and not page.toggle
    assert "no reset, last to first layer" not in said(page)
    page.radio(key="lesson_prediction").set_value(0).run()
    assert len(lines()) == 2 and "falls with depth: 0.0855" in said(page)
    page.toggle(key="lesson_reset").set_value(True).run()
    assert len(lines()) == 3 and "0.00587 to 0.0429" in said(page) and not page.exception
    # What the words claim: up, down, and up again but lower everywhere.
    forward, back, really = (
        [score for score, _ in scans[n]] for n in ("forward", "reversed", "reset")
    )
    assert forward == sorted(forward) and really == sorted(really)
    assert back[0] > back[-1] and all(a > b for a, b in zip(forward, really, strict=True))


def test_stored_scans_are_those_of_the_model(embedded):
    from adarank_core import generic_texts, score

    options = {"mode": "notebook-accumulating", "trials": 5, "seed": 0}
    only = r"layer\.[01]\.attention\.self\.value"  # noise of later layers comes later
    scores = score(embedded, generic_texts(), modules=only, **options)
    for module, pair in zip(
        scores.modules, read_json(LESSON / "reset.json")["curves"]["forward"], strict=False
    ):
        assert [module.score, module.standard_error] == pytest.approx(pair, rel=1e-3)


def test_the_eighth_step_has_the_published_figures_and_the_sign_that_turned(lesson):
    page = opened(lesson, "Unknown")
    assert "sum to 89 of 96" in said(page) and "0.1 to 0.3 percent" in said(page)
    one, other = (evidence()[f"{task}-shuffled"]["difference"] for task in ("docstrings", "trec"))
    assert one * other < 0  # the sign turned
    assert f"{signed(one)} on docstrings and {signed(other)} on TREC" in said(page)


@pytest.mark.parametrize("step", STEPS, ids=[step["id"] for step in STEPS])
def test_every_answer_is_explained(lesson, step):
    page = opened(lesson, step["name"])
    key, before = f"check_{step['id']}", (len(page.success), len(page.info))
    assert page.radio(key=key).value is None
    for at, choice in enumerate(step["check"]["choices"]):
        page.radio(key=key).set_value(at).run()
        right = choice.get("right", False)
        after = (len(page.success), len(page.info))
        assert after == (before[0] + right, before[1] + (not right))
        shown = (page.success if right else page.info)[-1].value
        assert shown.endswith(choice["why"]) and shown.startswith(("**Not quite", "**Right"))
        assert "1 of 8 quick checks answered" in said(page)


def test_nothing_in_the_side_bar_moves_from_step_to_step(lesson):
    def drawn(page):
        return [(type(each).__name__, getattr(each, "key", "")) for each in page.sidebar]

    before = drawn(lesson)
    assert ("NumberInput", "seed") in before
    assert all(drawn(opened(lesson, step["name"])) == before for step in STEPS)


def test_buttons_walk_through_all_steps_and_the_link_keeps_the_answers(lesson):
    for step in STEPS:
        assert f"step {STEPS.index(step) + 1} of 8" in said(lesson)
        wrong = [c.get("right", False) for c in step["check"]["choices"]].index(False)
        lesson.radio(key=f"check_{step['id']}").set_value(wrong).run()
        following = [button for button in lesson.button if button.label.startswith("Next: ")]
        assert len(following) == (step is not STEPS[-1])
        for button in following:
            button.click().run()
        assert not lesson.exception
    assert "8 of 8 quick checks answered" in said(lesson)
    link = lesson.query_params["done"]
    assert len(link) == 8 and "-" not in link
    # A fresh browser with that link stands where this one stood.
    other = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    other.query_params["done"] = link
    other.switch_page("pages/learn.py").run()
    assert "8 of 8 quick checks answered" in said(other)
    assert other.radio(key="check_rank").value == lesson.session_state["check_rank"]
    forget = next(button for button in other.button if button.label == "Forget my answers")
    forget.click().run()
    assert "0 of 8 quick checks answered" in said(other) and "done" not in other.query_params


def visitor(**link):
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    for key, value in link.items():
        page.query_params[key] = value
    page.switch_page("pages/learn.py").run()
    assert not page.exception
    return page


@pytest.fixture
def room(monkeypatch):
    monkeypatch.setattr(state, "PagesManager", SimpleNamespace(uses_pages_directory=False))
    name = name_of(new_key())
    ROOMS.open(name)
    yield name
    ROOMS.close(name)


def test_a_room_shows_what_its_teacher_chose_and_counts_two_sessions(room):
    link = {"room": room, "lesson": "13", "hide": "own-sentence.data.explore", "feedback": "0"}
    one, two = visitor(**link), visitor(**link)
    assert one.button_group(key="step").options == ["Rank", "Score"]
    assert not one.expander and "step 1 of 2" in said(one)
    one.radio(key="check_rank").set_value(1).run()
    assert not one.success and "Noted" in one.info[-1].value
    two.radio(key="check_rank").set_value(0).run()
    next(button for button in two.button if button.label == "Next: Score").click().run()
    assert not two.expander and not two.exception
    assert ROOMS.attendees(room) == [
        Attendee("rank", {"rank": 1}),
        Attendee("score", {"rank": 0}),
    ]
    # A reload is a new session, and the same attendee: the link says so.
    again = {key: str(value) for key, value in two.query_params.items() if key != "step"}
    assert again["me"] != one.query_params["me"] and again["room"] == room
    visitor(**again).radio(key="check_rank").set_value(2).run()
    assert ROOMS.attendees(room)[1] == Attendee("rank", {"rank": 2})
    assert len(ROOMS.attendees(room)) == 2


def test_a_room_that_nobody_opened_is_the_lesson_alone():
    page = visitor(room="0123456789abcdef", lesson="x", hide="learn.zork")
    assert len(page.button_group(key="step").options) == 8
    assert ROOMS.attendees("0123456789abcdef") == []


def test_an_own_sentence_is_computed_and_left_again(lesson):
    page = opened(lesson, "Noise")
    before = plain(page.header[0].value)
    page.text_input[0].set_value("  ")
    recompute(page)
    assert "write at least one word" in plain(page.error[0].value)
    assert plain(page.header[0].value) == before
    page.text_input[0].set_value("My *own* sentence.")
    recompute(page)
    assert not page.exception and not page.error
    assert any("“My *own* sentence.”" in plain(caption.value) for caption in page.caption)
    # A module that was not computed yet is computed when it is asked for.
    page.selectbox(key="lesson_another").set_value(VALUE.format(3)).run()
    assert not page.exception and "layer 4 · value" in plain(page.header[0].value)
    back = next(button for button in page.button if button.label == "Back to the stored sentence")
    back.click().run()
    assert any(stored().sentence in plain(caption.value) for caption in page.caption)


def recompute(page):
    next(button for button in page.button if button.label == "Recompute").click().run()


def test_the_lesson_does_not_wait_for_torch():
    script = """
import json, sys
from streamlit.testing.v1 import AppTest
page = AppTest.from_file("app.py", default_timeout=60).run().switch_page("pages/learn.py").run()
for step in ("Noise", "Score", "Texts", "Budget", "Fair test", "Reset", "Unknown"):
    page.button_group(key="step").set_value(step).run()
print(json.dumps([len(page.exception), "torch" in sys.modules]))
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout.splitlines()[-1]) == [0, False]
