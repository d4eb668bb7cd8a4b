import re

import pytest

from adarank_core.errors import AdaRankError
from adarank_core.files import read_json
from pages.parts.learn import lesson_data
from pages.parts.learn.judging import words_of
from pages.parts.learn.lesson_data import ASSETS, evidence, languages, lesson

ROOT = ASSETS.parents[1]
PLACES = re.compile(r"\{([\w\[\]-]+)\}")
MINUTES = 45
README = (ROOT / "README.md").read_text(encoding="utf-8")

in_every_language = pytest.mark.parametrize("language", languages())


def texts_of(step):
    """Every text of a step in which the page fills something in, by where it stands."""
    found = {f"passage {at}": text for at, text in enumerate(step["passages"])}
    found |= {f"story {story['id']}": story["text"] for story in step.get("stories", ())}
    return found | {key: step[key] for key in ("title", "title_alone") if key in step}


@in_every_language
def test_every_check_has_one_right_answer_and_explains_all(language):
    for step in lesson(language)["steps"]:
        choices = step["check"]["choices"]
        assert sum(choice.get("right", False) for choice in choices) == 1, step["id"]
        assert len({choice["text"] for choice in choices}) == len(choices) >= 3, step["id"]
        for choice in choices:
            assert len(choice["why"]) > 60, (step["id"], choice["text"])
        assert len({choice["why"] for choice in choices}) == len(choices), step["id"]


@in_every_language
def test_minutes_add_up_to_a_lesson_of_three_quarters_of_an_hour(language):
    steps = lesson(language)["steps"]
    assert sum(step["teaching"] + step["doing"] for step in steps) == MINUTES
    assert all(step["doing"] >= 2 for step in steps)


def test_the_right_answer_is_not_always_at_one_place():
    places = [
        [choice.get("right", False) for choice in step["check"]["choices"]].index(True)
        for step in lesson()["steps"]
    ]
    assert len(places) == 8 and max(map(places.count, places)) <= 3


@in_every_language
def test_a_language_has_the_shape_of_the_english_lesson(language):
    """Links hold a letter for an answer: its place must mean the same in every language."""
    for step, english in zip(lesson(language)["steps"], lesson()["steps"], strict=True):
        assert step["id"] == english["id"]
        ours, theirs = texts_of(step), texts_of(english)
        assert ours.keys() == theirs.keys()
        for place, text in ours.items():
            assert set(PLACES.findall(text)) == set(PLACES.findall(theirs[place])), place
        rights = [
            [bool(c.get("right")) for c in each["check"]["choices"]] for each in (step, english)
        ]
        assert rights[0] == rights[1], step["id"]
        assert len(step.get("predictions", ())) == len(english.get("predictions", ()))


def test_a_step_that_lacks_something_is_said(monkeypatch, tmp_path):
    text = (ASSETS / "lesson.en.toml").read_text(encoding="utf-8")
    monkeypatch.setattr(lesson_data, "ASSETS", tmp_path)
    (tmp_path / "lesson.xx.toml").write_text(text.replace("objective =", "aim =", 1))
    (tmp_path / "lesson.yy.toml").write_text(text.replace('title = "', "title = ", 1))
    assert languages() == ["en", "xx", "yy"]
    with pytest.raises(AdaRankError, match="'objective' is missing from step 1 of the lesson"):
        lesson("xx")
    with pytest.raises(AdaRankError, match=r"'lesson\.yy\.toml' is not valid TOML"):
        lesson("yy")


def test_the_evidence_is_that_of_the_benchmark():
    from assets.make_stories import EVIDENCE, rows

    assert read_json(EVIDENCE)["rows"] == rows()


def test_evidence_that_names_the_readme_stands_there():
    for row in evidence().values():
        if "README" in row["source"]:
            assert f"{row['difference']:+.3f}".replace("-", "−") in README, row["id"]


def test_every_story_has_its_figures():
    for step in lesson()["steps"]:
        for story in step.get("stories", ()):
            words = words_of(story)
            assert "{" not in words and "−0.0" in words
