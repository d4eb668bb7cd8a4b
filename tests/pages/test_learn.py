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
from adarank_core.scoring.lesson import NoisyLogits, energy_kept, mean_shift, pair_distances
from pages.parts.shared import state

ROOT = Path(__file__).resolve().parents[2]
LESSON = ROOT / "assets" / "lesson"
VALUE = "bert.encoder.layer.{}.attention.self.value"


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
    assert sum(file.stat().st_size for file in LESSON.iterdir()) < 200_000
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


def test_the_third_step_says_what_the_pairs_say(lesson):
    page = opened(lesson, "Disagreement")
    distances = pair_distances(stored().noisy[VALUE.format(5)])
    for pairs in (10, len(distances)):
        page.slider(key="lesson_pairs").set_value(pairs).run()
        found = re.search(r"\*\*([\d.]+) ± ([\d.]+)\*\* for layer 6 · value", said(page))
        mean, error = distances[:pairs].mean(), distances[:pairs].std(ddof=1) / pairs**0.5
        assert [float(number) for number in found.groups()] == pytest.approx(
            [mean, error], rel=0.06
        )


def test_the_fourth_step_shares_out_live(lesson):
    page = opened(lesson, "Sharing out")
    scores = state.example_scores("generic")
    for average in (8, 3):
        page.slider(key="rank").set_value(average).run()
        assert not page.exception
        learnt = allocate(scores, average).budget["lora_parameters"]
        assert f"36 modules × {average} = {36 * average:,}" in said(page)
        assert f"AdaRank learns {learnt:,} numbers" in said(page)


def test_the_fifth_step_reads_the_stored_verdict(lesson):
    page = opened(lesson, "Fair test")
    verdict = Verdict.from_dict(read_json(state.example_run().folder / "verdict.json"))
    for compared in verdict.primary:
        assert describe(compared, verdict) in said(page)
    page.slider(key="lesson_seeds").set_value(1).run()
    assert not page.exception
    assert page.header[0].value.count("one seed decides nothing") == 2


@pytest.mark.parametrize(
    ("step", "key", "right"),
    [
        ("Rank", "check_rank", "The change of the weight"),
        ("Disagreement", "check_disagreement", "Some texts, and running the model on them"),
        ("Fair test", "check_permuted", "Uneven ranks helped, whoever got them"),
    ],
)
def test_every_answer_is_explained(lesson, step, key, right):
    page = opened(lesson, step)
    assert page.radio(key=key).value is None and not page.success and not page.info
    for answer in page.radio(key=key).options:
        page.radio(key=key).set_value(answer).run()
        shown, other = (page.success, page.info) if answer == right else (page.info, page.success)
        assert len(shown) == 1 and not other
        assert len(shown[0].value) > 60
        assert "1 of 3 quick checks answered" in said(page)


def test_buttons_walk_through_all_steps_and_answers_stay(lesson):
    lesson.radio(key="check_rank").set_value("The change of the weight").run()
    for step in ("Noise", "Disagreement", "Sharing out", "Fair test"):
        next(button for button in lesson.button if button.label == f"Next: {step}").click().run()
        assert not lesson.exception
    assert "step 5 of 5 · 1 of 3" in said(lesson)
    opened(lesson, "Rank")
    assert lesson.radio(key="check_rank").value == "The change of the weight"


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
for step in ("Noise", "Disagreement", "Sharing out", "Fair test"):
    page.button_group(key="step").set_value(step).run()
print(json.dumps([len(page.exception), "torch" in sys.modules]))
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout.splitlines()[-1]) == [0, False]
