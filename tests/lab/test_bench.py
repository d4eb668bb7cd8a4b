"""What a study measures with."""

from adarank_core.lab.bench import Bench
from adarank_core.lab.studies import study_named
from adarank_core.lab.study import StudyRequest


def test_a_planner_is_made_anew_for_another_budget_alone(tiny_bert, tiny_file, tmp_path):
    bench = Bench(StudyRequest(study_named("rank-binds"), tiny_bert, tiny_file), tmp_path)
    first = bench.planner(2)
    assert bench.planner(2) is first
    assert bench.planner(4) is not first
    assert bench.planner(4).parameters == 2 * first.parameters
