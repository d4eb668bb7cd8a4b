"""Scores to JSON and back, and every way in which a file can be wrong."""

import copy
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adarank_core import AdaRankError, ModuleScore, Scores
from adarank_core.files import read_json


def refusal(data):
    with pytest.raises(AdaRankError) as caught:
        Scores.from_dict(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def good(made_up):
    return json.loads(json.dumps(made_up().to_dict()))


names = st.text(min_size=1)
sizes = st.integers(1, 10**6)
numbers = st.floats(0, allow_nan=False, allow_infinity=False)


@given(
    st.lists(
        st.builds(ModuleScore, names, st.integers(0, 99), names, sizes, sizes, numbers, numbers),
        min_size=1,
        unique_by=lambda module: module.name,
    )
)
def test_scores_survive_json(modules):
    texts = {"source": "list", "count": 1, "sha256": "00"}
    scores = Scores("m", "paper", "paired", 0.5, 7, texts, tuple(modules))
    back = Scores.from_dict(json.loads(json.dumps(scores.to_dict())))
    assert back == scores and back.sha256 == scores.sha256


def test_what_was_not_scored_is_kept_and_counted_by_kind(good):
    scores = Scores.from_dict(good)
    assert "not_scored" not in good and scores.not_scored == () and scores.not_scored_note == ""
    names = [f"layers.{n}.mlp.{kind}" for n in range(3) for kind in ("experts.up", "gate.weight")]
    more = Scores.from_dict({**good, "not_scored": names})
    assert more.not_scored == tuple(names) and more.sha256 != scores.sha256
    assert Scores.from_dict(json.loads(json.dumps(more.to_dict()))) == more
    assert more.not_scored_note.startswith("3 × mlp.experts.up, 3 × mlp.gate.weight: ")
    many = Scores.from_dict({**good, "not_scored": [f"kind{n}" for n in range(12)]})
    assert "1 × kind7, 4 other kinds: " in many.not_scored_note
    for wrong in ([], [""], [3], "name", None, {}):
        assert "not_scored" in refusal({**good, "not_scored": wrong})


def test_the_digest_tells_scores_apart(made_up):
    assert made_up(0).sha256 == made_up(0).sha256 != made_up(1).sha256


def test_families_come_in_the_order_of_the_data(made_up):
    assert made_up().families == (
        "query",
        "key",
        "value",
        "attention.output",
        "intermediate",
        "output",
    )


@pytest.mark.parametrize("data", [None, [], 3, "x", {}, {"format": "adarank-ranks/1"}])
def test_other_files_are_refused(data):
    assert "not a scores file" in refusal(data)


@pytest.mark.parametrize(
    "key", ["model", "mode", "estimator", "noise_scale", "seed", "texts", "modules"]
)
def test_every_key_is_needed(good, key):
    del good[key]
    assert repr(key) in refusal(good)


@pytest.mark.parametrize(
    "key", ["name", "layer", "family", "in_features", "out_features", "score", "standard_error"]
)
@pytest.mark.parametrize(
    "value", [None, True, [], {}, -1, math.nan, math.inf, "1", 10**400], ids=range(9)
)
def test_every_value_of_a_module_is_checked(good, key, value):
    if (key, value) in (("layer", -1), ("layer", 10**400), ("name", "1"), ("family", "1")):
        return
    if key.endswith("features") and value == 10**400:
        return
    good["modules"][3][key] = value
    assert repr(key) in refusal(good) and "module 4" in refusal(good)


def test_modules_must_be_a_list_of_different_objects(good):
    for modules in ([], {}, None, "x", [3], [[]], [{}]):
        refusal({**good, "modules": modules})
    good["modules"].append(good["modules"][0])
    assert "twice" in refusal(good)


def test_texts_must_be_an_object(good):
    assert "'texts'" in refusal({**good, "texts": "generic"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data(), value=json_values)
def test_no_corruption_gives_anything_but_the_one_error(made_up, data, value):
    broken = copy.deepcopy(made_up().to_dict())
    place = data.draw(st.sampled_from([broken, broken["texts"], *broken["modules"][:2]]))
    key = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        place[key] = value
    else:
        del place[key]
    try:
        scores = Scores.from_dict(broken)
    except AdaRankError as error:
        assert "\n" not in str(error)
    else:
        json.dumps(scores.to_dict())


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\x00", b"{'a': 1}", b"[" * 100_000, b'{"a": 1'], ids=range(6)
)
def test_what_is_not_json_is_said_in_one_sentence(tmp_path, content):
    file = tmp_path / "scores.json"
    file.write_bytes(content)
    with pytest.raises(AdaRankError, match="is not valid JSON") as caught:
        read_json(file)
    assert "\n" not in str(caught.value)


def test_folders_and_missing_files_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "missing.json", "x" * 5000):
        with pytest.raises(AdaRankError, match="cannot be read"):
            read_json(path)


def test_a_name_that_stands_twice_in_a_json_object_is_refused(tmp_path):
    (tmp_path / "twice.json").write_text('{"a": {"b": 1, "c": 2, "b": 3}}')
    with pytest.raises(AdaRankError, match="names 'b' twice in one object"):
        read_json(tmp_path / "twice.json")
