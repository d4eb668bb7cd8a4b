"""What a run answers is read anew where its file has changed."""

from adarank_core.comparison.judging import verdict_of
from adarank_core.files import write_json
from adarank_core.lab.study import StudyResult
from adarank_core.runs.answers import answer_or_damage, effect, verdict_or_damage


def test_a_verdicts_word_or_what_is_wrong(tmp_path):
    runs = [{"seed": 0, "test_loss": 0.5, "test_accuracy": 0.75}]
    arm = {"lora_parameters": 9, "allocation_seconds": 0.0, "runs": runs}
    verdict = verdict_of("docstrings", "embedded", {"uniform": arm, "adarank": arm})
    path = tmp_path / "verdict.json"
    write_json(path, verdict.to_dict())
    assert verdict_or_damage(tmp_path) == ("one seed decides nothing", "")
    path.write_text(path.read_text()[:200])
    word, damage = verdict_or_damage(tmp_path)
    assert word == "" and damage.startswith("'verdict.json' is not valid JSON")


def test_a_studys_answer_or_what_is_wrong(tmp_path):
    path = tmp_path / "study.json"
    write_json(path, StudyResult("mine", {}, {}, ({"x": 1},), "It is one (1).").to_dict())
    assert answer_or_damage(tmp_path) == ("It is one (1).", "")
    path.write_text("{")
    answer, damage = answer_or_damage(tmp_path)
    assert not answer and "study.json" in damage


def test_the_effect_is_the_difference_that_has_the_word_with_its_interval(tmp_path):
    losses = {"uniform": (0.5, 0.6, 0.7), "ramp-up": (0.9, 0.9, 0.9), "adarank": (0.4, 0.51, 0.6)}
    arms = {
        arm: {
            "lora_parameters": 9,
            "allocation_seconds": 0.0,
            "runs": [{"seed": n, "test_loss": loss} for n, loss in enumerate(values)],
        }
        for arm, values in losses.items()
    }
    verdict = verdict_of("docstrings", "embedded", arms)
    write_json(tmp_path / "verdict.json", verdict.to_dict())
    # By hand: differences −0.1, −0.09, −0.1; deviation 0.00577, times 4.303 / √3.
    assert effect(tmp_path) == "−0.097 (−0.111 to −0.082)"
    assert verdict_or_damage(tmp_path)[0] == "better"
