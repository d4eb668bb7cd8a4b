"""What is confirmed was fixed, and is trained beside the arms of the evidence."""

from benchmarks import confirmation, improvements
from benchmarks.evidence import Study, settings_of


def test_the_chosen_variant_is_held_against_uniform_and_against_adarank(
    tiny_task, tmp_path, monkeypatch
):
    def written(task, output, names, model):
        return [str(output / f"{name}.json") for name in names]

    monkeypatch.setattr(confirmation, "plan_files", written)
    study = confirmation.study_of(tiny_task, tmp_path)
    assert confirmation.CHOSEN in improvements.NAMES
    assert {against for arm, against in study.pairs if arm == confirmation.CHOSEN} == {
        "uniform",
        "adarank",
    }
    # Trainings of the evidence are taken over only where nothing of these differs.
    assert study.to_dict() == Study(settings_of(tiny_task)).to_dict()
