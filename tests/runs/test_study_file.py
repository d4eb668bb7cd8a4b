from adarank_core.files import write_json
from adarank_core.lab.study import StudyResult
from adarank_core.runs.study_file import answer_or_damage


def test_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "study.json"
    write_json(path, StudyResult("mine", {}, {}, ({"x": 1},), "It is one (1).").to_dict())
    assert answer_or_damage(tmp_path) == ("It is one (1).", "")
    path.write_text("{")
    answer, damage = answer_or_damage(tmp_path)
    assert not answer and "study.json" in damage
