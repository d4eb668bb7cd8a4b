"""The embedded task: how it is made (from a small package), and what came out on this machine."""

import sys

import pandas as pd
import pytest

from adarank_core.data import docstrings
from adarank_core.data.docstrings import build_docstrings, clean, docstrings_task, without_families
from adarank_core.data.task import normalised, split_of
from adarank_core.data.tasks import load_task
from adarank_core.errors import AdaRankError

SPLITS = ("train", "validation", "test")

SHOP = '''
"""A module's own docstring is not read."""
raise RuntimeError("imported")

class Basket:
    """Hold what a customer wants to buy until the till.

    This second paragraph is not read.
    """

    def add(self, item):
        """Put one more item on top of the others."""
        def check():
            """Refuse an item that has no price at all."""

    async def pay(self):
        """Too short."""

if True:
    def empty(basket):
        r"""Take everything out of the given basket again."""
'''


@pytest.fixture
def small_world(tmp_path, monkeypatch):
    """Two subjects, read from two small packages; a cache folder of their own."""
    files = {
        "shop_package/__init__.py": SHOP,
        "shop_package/broken.py": 'print """Python 2 is not read, nor is it a problem."""',
        "shop_package/tests/test_it.py": 'def f():\n    """What a test says is never read."""',
        "farm_package/__init__.py": 'def f():\n    """Feed every animal on the farm at dawn."""\n'
        'def g():\n    """Put one more ITEM on top of the others."""\n',
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ADARANK_HOME", str(tmp_path / "home"))
    subjects = {"shopping": ("shop_package no_such_package", ""), "farming": ("farm_package", "")}
    monkeypatch.setattr(docstrings, "SUBJECTS", subjects)
    return tmp_path


def test_first_paragraphs_are_read_without_importing(small_world):
    table = build_docstrings()
    assert set(zip(table["text"], table["label"], strict=True)) == {
        ("Hold what a customer wants to buy until the till.", "shopping"),
        ("Refuse an item that has no price at all.", "shopping"),
        ("Take everything out of the given basket again.", "shopping"),
        ("Feed every animal on the farm at dawn.", "farming"),
    }
    assert "shop_package" not in sys.modules
    assert table["split"].tolist() == [split_of(text) for text in table["text"]]


def test_progress_runs_from_nothing_to_all(small_world):
    told = []
    build_docstrings(lambda message, share: told.append((share, message)))
    assert told[0][0] == 0 and told[-1][0] == 1
    assert told == sorted(told, key=lambda one: one[0])


def test_a_class_is_cut_to_the_same_texts_each_time(small_world, monkeypatch):
    whole = build_docstrings()["text"].tolist()
    monkeypatch.setattr(docstrings, "LARGEST_CLASS", 2)
    cut = build_docstrings()
    assert cut["label"].value_counts()["shopping"] == 2
    assert [text for text in whole if text in set(cut["text"])] == cut["text"].tolist()


def test_a_subject_without_any_text_is_said(small_world, monkeypatch):
    monkeypatch.setattr(docstrings, "SUBJECTS", {"sailing": ("no_such_package", "")})
    with pytest.raises(AdaRankError, match="no docstring about 'sailing'"):
        build_docstrings()


def test_the_cache_is_used_and_made_again_when_it_is_broken(small_world, monkeypatch):
    first = docstrings_task()
    (file,) = (small_world / "home" / "cache").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(docstrings, "build_docstrings", None)
        assert docstrings_task().train.equals(first.train)
    whole = file.read_bytes()
    for broken in (b"", b"not Parquet", whole[: len(whole) // 2]):
        file.write_bytes(broken)
        assert docstrings_task().train.equals(first.train)
        assert file.read_bytes() == whole
    pd.DataFrame({"text": ["a"], "label": ["b"], "split": ["train"]}).to_parquet(file)
    assert docstrings_task().train.equals(first.train)
    assert list(file.parent.iterdir()) == [file]


def test_other_versions_have_another_cache(small_world, monkeypatch):
    docstrings_task()
    monkeypatch.setattr(docstrings, "CORPUS_VERSION", docstrings.CORPUS_VERSION + 1)
    docstrings_task()
    assert len(list((small_world / "home" / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("Return the [`Trainer`] of this run,\n  ready.", "Return the Trainer of this run, ready."),
        (
            "As :meth:`~a.B.sort` but in the `RFC order`_ of names.",
            "As a.B.sort but in the RFC order of names.",
        ),
        (
            "Wrap pd.Index for st.write and PandasArray.",
            "Wrap [library] for [library] and [library].",
        ),
        (
            "Turn on a Streamlit-managed and non-torch mode for all.",
            "Turn on a [library]-managed and non-[library] mode for all.",
        ),
        ("Read the pages of a book.\nArgs:\n    book: a book", "Read the pages of a book."),
        ("Use the requests of all users and their emails.",) * 2,
        ("Four words are few.", ""),
        (" ".join(["word"] * 41), ""),
        ("sort(values, reverse) sorts the values given", ""),
        ("read(size) -> the bytes that were read so far", ""),
        ("values : array-like of shape and size", ""),
        ("Parameters\n----------\nvalues of the array here", ""),
        (">>> import this is not a sentence here", ""),
        ("See https://example.org for what this does today.", ""),
        ("a1 b2 c3 d4 and some five words", ""),
        ("The following names are known to this function:", ""),
    ],
)
def test_paragraphs_become_plain_sentences_or_nothing(paragraph, expected):
    assert clean(paragraph) == expected


def test_repeats_of_one_shape_and_long_series_are_dropped():
    for texts in (
        ["Build a Bert model from files.", "Build a GPT2 model from files."],
        ["BertNorm is equivalent to LayerNorm", "LlamaNorm is equivalent to LayerNorm"],
        ["Sets the x position.", "Sets the y position."],
    ):
        assert without_families(texts) == texts[:1]
    series = [
        f"Draw the next line {word}." for word in ("up", "on", "by", "to", "in", "at", "as", "of")
    ]
    assert without_families(series) == series[: docstrings.LARGEST_FAMILY]


# The real one, from the cache that all tests share.


@pytest.fixture(scope="module")
def task():
    return load_task("docstrings")


def test_six_subjects_of_like_size(task):
    assert task.label_names == tuple(docstrings.SUBJECTS) and len(task.label_names) == 6
    counts = pd.concat([task.train, task.validation, task.test])["label"].value_counts()
    assert counts.max() <= 1200 and counts.min() >= 700
    for split in (task.validation, task.test):
        assert split["label"].value_counts().min() >= 50


def test_no_text_is_in_two_places(task):
    everything = pd.concat([task.train, task.validation, task.test])["text"].map(normalised)
    assert everything.is_unique
    for split in SPLITS:
        assert set(getattr(task, split)["text"].map(split_of)) == {split}


def test_texts_are_short_sentences_without_library_names(task):
    texts = pd.concat([task.train, task.validation, task.test])["text"]
    assert texts.str.split().str.len().between(5, 40).all()
    names = r"pandas|sklearn|scikit-learn|plotly|streamlit|hugging ?face|asyncio|urllib|torch"
    assert texts[texts.str.contains(rf"(?i){names}")].tolist() == []
    assert not texts.str.contains(r">>>|https?://|-> |\n").any()


def test_the_task_is_neither_trivial_nor_hopeless(task):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB

    words = TfidfVectorizer().fit(task.train["text"])
    model = MultinomialNB(alpha=0.1).fit(words.transform(task.train["text"]), task.train["label"])
    accuracy = model.score(words.transform(task.validation["text"]), task.validation["label"])
    assert 0.65 < accuracy < 0.9
