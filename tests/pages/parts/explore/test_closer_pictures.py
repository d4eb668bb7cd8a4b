import numpy as np

from adarank_core.scoring.module_detail import ByText, Spectrum
from pages.parts.explore import closer_pictures as pictures

TEXTS = ("a cat", "a <b>dog</b> in the sun", "a bird")


def by_text(means, error=0.1):
    pairs = np.outer(means, np.linspace(0.5, 1.5, 400))
    return ByText(tuple(means), (error,) * len(means), pairs)


def test_a_text_is_named_only_where_it_stands_out():
    said = pictures.by_text_finding(by_text([1.0, 3.0, 2.0]), TEXTS)
    assert said == "“a <b>dog</b> in the sun” disagrees most: 3.00 ± 0.10, 1.5× the mean of all 3"
    said = pictures.by_text_finding(by_text([1.0, 2.2, 2.0]), TEXTS)
    assert said == "No text stands out: means go from 1.00 to 2.20, and the highest overlap"
    said = pictures.by_text_finding(by_text([2.0]), TEXTS[:1])
    assert said.endswith("half of all pairs lie between 1.50 and 2.50")


def test_the_text_that_disagrees_most_is_on_top_and_dots_are_few():
    figure = pictures.by_text(by_text([1.0, 3.0, 2.0]), TEXTS)
    dots, means = figure.data
    assert list(figure.layout.yaxis.ticktext)[-1] == "a &lt;b&gt;dog&lt;/b&gt; in the sun"
    assert list(means.x) == [1.0, 2.0, 3.0] and list(means.y) == [0, 1, 2]
    assert len(dots.x) == 3 * pictures.MOST_DOTS
    top = [x for x, y in zip(dots.x, dots.y, strict=True) if y > 1.5]
    assert (min(top), max(top)) == (1.5, 4.5)
    assert means.customdata[2].startswith("On “a &lt;b&gt;dog")


def test_a_spectrum_says_what_is_more_than_noise():
    found = Spectrum((4.0, 3.0, 1.0, 0.5), 2.0)
    assert pictures.spectrum_finding(found) == (
        "2 of 4 singular values stand above noise of the weight's own size; 1 hold half of its "
        "energy"
    ).replace("1 hold", "1 holds")
    line, edge = pictures.spectrum(found).data
    assert list(line.y) == [4.0, 3.0, 1.0, 0.5] and set(edge.y) == {2.0}
    assert "the first 2 hold 95% of" in line.customdata[1]
    pictures.spectrum(Spectrum((0.0, 0.0), 0.0))  # a weight of zeros


def test_reach_leaves_out_what_does_not_follow(made_up):
    scores = made_up()
    module, *_, last = scores.modules
    reached = {scores.modules[3].name: 0.5, last.name: 0.0123}
    figure = pictures.reach(scores, module, reached)
    values = [value for row in figure.data[0].z for value in row if value is not None]
    assert values == [50.0, 1.23]
    digits = [a.text for a in figure.layout.annotations if a.name == "digit"]
    assert digits == ["50%", "1.2%"]
    assert len(figure.layout.shapes) == 1
    said = pictures.reach_finding(scores, reached)
    assert said.startswith("Its noise reaches 2 modules") and said.endswith("most: by 50%")
    assert "no other scored module" in pictures.reach_finding(scores, {})
    assert "one more module" in pictures.reach_finding(scores, {last.name: 0.1})
