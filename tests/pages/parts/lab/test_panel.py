import doctest
import re

import pytest

from adarank_core.errors import AdaRankError
from adarank_core.lab.studies import STUDIES
from pages.parts.lab import panel


def test_examples():
    assert doctest.testmod(panel).failed == 0


@pytest.mark.parametrize("path", sorted(panel.EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_stored_example_is_finished_and_drawn(path):
    result = panel.stored(path.stem)
    assert result.study == path.stem and result.answer
    assert ". " not in result.answer and len(result.answer) < 200  # one sentence, as a title
    assert not re.search(r"± 0(\.0+)?(?![.\d])", result.answer + result.details)
    assert set(STUDIES[path.stem].defaults) <= set(result.settings)
    study = STUDIES[path.stem]
    again = study.answer(result.rows), study.details(result.rows)  # of rounded rows: but for digits
    for stored, now in zip((result.answer, result.details), again, strict=True):
        assert re.sub(r"\d", "0", stored) == re.sub(r"\d", "0", now)
    pictures, tables = panel.drawn_result(path.stem, result)
    assert pictures and sum(map(len, tables.values())) == len(result.rows)


def test_a_damaged_file_is_told_by_its_name(tmp_path):
    assert panel.read_result(tmp_path / "study.json") is None
    (tmp_path / "study.json").write_text('{"format": "adarank-study/1", "rows": 3}')
    with pytest.raises(AdaRankError, match="missing from the study"):
        panel.read_result(tmp_path / "study.json")
