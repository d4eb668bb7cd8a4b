"""The table of arms, ranks by depth, and what cannot be compared."""

import pytest

from adarank_core import AdaRankError, allocate
from adarank_core.comparison.arms import ARMS, check_arms, file_name
from adarank_core.scoring.baselines import depth_ramp


def test_ramps_grow_and_fall_with_depth(made_up):
    up = allocate(depth_ramp(made_up(), up=True), 8)
    down = allocate(depth_ramp(made_up(), up=False), 8)
    by_layer = [up.ranks[m.name] for m in made_up().modules if m.family == "value"]
    assert by_layer == sorted(by_layer) and by_layer[0] < by_layer[-1]
    assert [down.ranks[m.name] for m in made_up().modules if m.family == "value"] == by_layer[::-1]


def test_every_arm_is_trained_by_a_method_that_there_is():
    from adarank_core.training.adapters import METHODS

    assert {arm.method for arm in ARMS.values()} == set(METHODS)
    for name, arm in ARMS.items():
        assert arm.name == name and arm.question
        ways = [arm.texts, arm.score, arm.source, arm.trains]
        assert sum(map(bool, ways)) == 1


def test_file_names_are_plain(tmp_path):
    names = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "adarank.json").write_text(folder)
        names.add(file_name(str(tmp_path / folder / "adarank.json")))
    names |= set(map(file_name, ARMS))
    assert len(names) == len(ARMS) + 2
    assert all("/" not in name and not name.startswith(".") for name in names)


# What cannot be compared


@pytest.mark.parametrize(
    ("arms", "seeds", "message"),
    [
        ([], [0], "no arms"),
        (["uniform"], [], "no seeds"),
        (["uniform", "uniform"], [0], "the arm 'uniform' is given twice"),
        (["uniform"], [0, 1, 0], "the seed 0 is given twice"),
        (["best"], [0], "the arm 'best' is unknown"),
        ([""], [0], "the arm '' is unknown"),
        (["no/such.json"], [0], "cannot be read"),
        (["uniform"], [-1], "the seed is -1"),
        (["uniform"], [2**32], "the seed is 4294967296"),
    ],
)
def test_bad_arms_and_seeds_are_refused(arms, seeds, message):
    with pytest.raises(AdaRankError, match=message):
        check_arms(arms, seeds)
