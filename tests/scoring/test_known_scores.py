import os

from adarank_core.scoring import known_scores
from adarank_core.scoring.known_scores import keep_known, known, model_revision


def files(folder):
    return sorted(folder.glob("*.json"))


def test_scores_are_known_again_to_the_last_digit_by_their_own_key_alone(made_up):
    keep_known(["embedded", None, 3], made_up(3))
    assert known(["embedded", None, 3]) == made_up(3)
    assert known(["embedded", None, 4]) is None


def test_a_damaged_file_is_passed_over_and_written_anew(made_up):
    keep_known([1], made_up())
    (path,) = files(known_scores.scores_folder())
    whole = path.read_text(encoding="utf-8")
    for damaged in (whole[:100], whole.replace('"seed": 0', '"seed": 1'), ""):
        path.write_text(damaged, encoding="utf-8")
        assert known([1]) is None
    keep_known([1], made_up())
    assert known([1]) == made_up()


def test_what_was_not_looked_at_for_longest_goes_first(made_up, monkeypatch):
    monkeypatch.setattr(known_scores, "MOST_FILES", 3)
    for at in range(3):
        keep_known([at], made_up())
    for path in files(known_scores.scores_folder()):
        os.utime(path, (1, 1))
    assert known([0]) is not None
    keep_known([3], made_up())
    keep_known([4], made_up())
    assert [known([at]) is not None for at in range(5)] == [True, False, False, True, True]
    assert len(list(known_scores.scores_folder().iterdir())) == 6
    monkeypatch.setattr(known_scores, "MOST_BYTES", 10)
    keep_known([5], made_up())
    assert files(known_scores.scores_folder()) == []


def test_a_disk_that_cannot_be_written_keeps_nothing(made_up, monkeypatch):
    def full(path, data, asked):
        raise OSError("No space left on device")

    monkeypatch.setattr(known_scores, "keep", full)
    keep_known([1], made_up())
    assert known([1]) is None


def test_another_model_under_the_same_name_is_another(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = model_revision(str(tmp_path))
    assert model_revision(str(tmp_path)) == first
    weights.write_bytes(b"other")
    assert model_revision(str(tmp_path)) != first != ""


def test_a_hub_model_is_told_by_its_commit(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert model_revision("me/mine") == ""
    refs = tmp_path / "models--me--mine" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("abc123")
    assert model_revision("me/mine") == "abc123"


def test_scores_of_other_code_are_not_known(made_up, monkeypatch, tmp_path):
    keep_known([1], made_up())
    (tmp_path / "estimators.py").write_text("changed")
    with monkeypatch.context() as patch:
        patch.setattr(known_scores, "__file__", str(tmp_path / "known_scores.py"))
        known_scores._code.cache_clear()
        assert known([1]) is None
    known_scores._code.cache_clear()
    assert known([1]) == made_up()
