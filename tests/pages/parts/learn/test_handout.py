import re
import zlib
from html.parser import HTMLParser

import pytest

from pages.parts.learn.handout import handout_html, qr_png, time_plan
from pages.parts.learn.lesson_data import lesson

LINK = "http://192.0.2.7:8501/learn?room=0123456789abcdef&hide=compare"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.words = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag not in ("meta", "br", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("meta", "br", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parsed(html):
    page = Tags()
    page.feed(html)
    assert page.open == []
    return page


def test_a_plan_begins_at_nought_and_ends_with_all_minutes():
    steps = lesson()["steps"]
    plan = time_plan(steps)
    assert plan[0][0] == "0:00" and plan[-1][0] == "0:41"
    assert time_plan(steps * 2)[-1][0] == "1:26"
    assert sum(teaching + doing for *_, teaching, doing in plan) == 45


def test_a_handout_has_the_questions_and_not_the_answers():
    words = lesson()
    page = parsed(handout_html(words, words["steps"], LINK))
    text = " ".join(" ".join(page.words).split())
    assert "svg" in page.seen and LINK in text and "✓" not in text
    for step in words["steps"]:
        for choice in step["check"]["choices"]:
            assert choice["text"] in text and choice["why"] not in text
    assert "http" not in handout_html(words, words["steps"])  # nothing is fetched


def test_an_answer_key_marks_one_answer_a_step_and_explains_all():
    words = lesson()
    page = parsed(handout_html(words, words["steps"][:3], with_answers=True))
    text = " ".join(" ".join(page.words).split())
    assert text.count("✓") == 3
    for step in words["steps"][:3]:
        for choice in step["check"]["choices"]:
            plain = " ".join(choice["why"].replace("*", "").split())
            assert plain in text.replace(" ,", ",").replace("  ", " ")


def test_the_words_of_a_lesson_cannot_be_tags():
    words = lesson()
    step = {**words["steps"][0], "name": "<script>alert(1)</script>", "objective": "a **b** & <i>"}
    html = handout_html({**words, "title": '"><img src=x>'}, [step], '"><img src=y>')
    assert "script" not in parsed(html).seen and "img" not in parsed(html).seen
    assert "a <strong>b</strong> &amp; &lt;i&gt;" in html


@pytest.mark.parametrize("link", [LINK, LINK + "x" * 300])
def test_a_qr_code_has_its_quiet_zone_and_its_corners(link):
    """Read from the PNG's own bytes: four white modules around, then a corner of seven black."""
    image = qr_png(link, scale=1)
    width = int.from_bytes(image[16:20], "big")
    data = b"".join(re.findall(rb"IDAT(.*?)....IEND", image, flags=re.DOTALL))
    rows = zlib.decompress(data)
    stride = 1 + (width + 7) // 8
    lines = [rows[at * stride + 1 : (at + 1) * stride] for at in range(width)]
    bits = ["".join(f"{byte:08b}" for byte in line) for line in lines]
    assert all(set(row[:width]) == {"1"} for row in bits[:4] + bits[-4:])
    assert bits[4][:12] == "1111" + "0000000" + "1"
    assert bits[4][width - 12 : width] == "1" + "0000000" + "1111"
