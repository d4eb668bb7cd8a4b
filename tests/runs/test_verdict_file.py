"""A verdict's word is read anew where its file has changed."""

from adarank_core.comparison.judging import verdict_of
from adarank_core.files import write_json
from adarank_core.runs.verdict_file import verdict_or_damage


def test_a_word_or_what_is_wrong(tmp_path):
    runs = [{"seed": 0, "test_loss": 0.5, "test_accuracy": 0.75}]
    arm = {"lora_parameters": 9, "allocation_seconds": 0.0, "runs": runs}
    verdict = verdict_of("docstrings", "embedded", {"uniform": arm, "adarank": arm})
    path = tmp_path / "verdict.json"
    write_json(path, verdict.to_dict())
    assert verdict_or_damage(tmp_path) == ("one seed decides nothing", "")
    path.write_text(path.read_text()[:200])
    word, damage = verdict_or_damage(tmp_path)
    assert word == "" and damage.startswith("'verdict.json' is not valid JSON")
