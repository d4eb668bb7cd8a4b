"""Unlabelled texts: where they come from and what is refused."""

import pytest

from adarank_core import AdaRankError, Texts, generic_texts, sentence, texts_from_file
from adarank_core.data.texts import as_texts


def refusal(call, *arguments):
    with pytest.raises(AdaRankError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_generic_texts_are_sixteen_different_sentences():
    texts = generic_texts()
    assert texts.source == "generic" and len(texts) == 16 == len(set(texts.items))


@pytest.mark.parametrize("blank", ["", "   ", "\n\t", "\u3000", None, 3])
def test_a_blank_sentence_is_refused(blank):
    assert repr(blank) in refusal(sentence, blank)


def test_a_sentence_is_trimmed():
    assert sentence("  one\n").items == ("one",)
    assert as_texts("one") == sentence("one")


def test_a_list_is_a_source_and_texts_stay_themselves():
    assert as_texts(["one", "two"]) == Texts("list", ("one", "two"))
    assert as_texts(generic_texts()) == generic_texts()


def test_what_is_wrong_in_a_list_is_named():
    assert "text 2 is ' '" in refusal(as_texts, ["one", " "])
    assert "text 1 is 3" in refusal(as_texts, [3])
    assert "'list' is empty" in refusal(as_texts, [])


def test_the_digest_tells_texts_apart():
    digests = {Texts("x", items).sha256 for items in (("ab",), ("a", "b"), ("b", "a"))}
    assert len(digests) == 3
    assert Texts("x", ("ab",)).sha256 == Texts("y", ("ab",)).sha256


def test_a_file_gives_one_text_a_line(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_bytes("\ufeffone \r\n\r\n  zwei ä\n".encode())
    assert texts_from_file(file) == Texts("mine.txt", ("one", "zwei ä"))


def test_files_without_text_are_refused(tmp_path):
    file = tmp_path / "mine.txt"
    assert "cannot be read" in refusal(texts_from_file, file)
    assert "cannot be read" in refusal(texts_from_file, tmp_path)
    file.write_text("\n \n")
    assert "holds no text" in refusal(texts_from_file, file)
    file.write_bytes(b"ok\n\xff")
    assert "is not UTF-8 (byte 3)" in refusal(texts_from_file, file)
