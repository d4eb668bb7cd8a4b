"""The unlabelled texts that modules are scored on: generic, one sentence, or a file."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adarank_core.errors import AdaRankError, quoted
from adarank_core.files import read_text
from adarank_core.limits import check_limit

__all__ = ["Texts", "as_texts", "check_text", "generic_texts", "sentence", "texts_from_file"]

MOST_CHARACTERS = 1_000_000  # in one text: a long novel; a model reads a few hundred words of it

# Written for this project: plain sentences of mixed subject, length and mood. Nothing in them
# belongs to one task, which is all that "generic" has to mean (paper, section 4.3).
GENERIC = (
    "The train left the station two minutes early, so half of the passengers missed it.",
    "Could you tell me where the nearest library is?",
    "Bread rises because yeast turns sugar into carbon dioxide.",
    "She closed the window, sat down and opened the letter that had waited all week.",
    "The committee will publish its report on water prices next month.",
    "I have never enjoyed a film less than this one.",
    "A triangle with two equal sides also has two equal angles.",
    "Please water the plants on Tuesday and leave the key under the blue pot.",
    "The river froze so hard that winter that carts could cross it.",
    "Shares in the airline fell by four percent after the strike was announced.",
    "How many moons does the planet Mars have?",
    "The goalkeeper saved the last penalty and the whole town celebrated until morning.",
    "What a wonderful evening that was!",
    "The museum keeps the oldest known map of the city in a dark, dry room.",
    "If the sensor reports an error twice, restart the pump and write down the time.",
    "Old songs travel further than the people who first sang them.",
)


@dataclass(frozen=True)
class Texts:
    """Texts to score on, and where they came from.

    Parameters
    ----------
    source : str
        For people and for ``scores.json``: ``"generic"``, ``"sentence"``, a task's name or a
        file's name.
    items : tuple of str
        At least one text; see `check_text` for what each must be.
    sampled : bool
        Whether they are a sample of many more, so that an error bar covers their draw.

    Raises
    ------
    AdaRankError
        If there is no text, or if one of them or the source cannot be read as text.

    Examples
    --------
    >>> len(Texts("mine", ("One text.", "Another.")))
    2
    """

    source: str
    items: tuple[str, ...]
    sampled: bool = False

    def __post_init__(self):
        check_text(self.source, "the name of the text source")
        if not self.items:
            raise AdaRankError(f"the text source {self.source!r} is empty; give at least one text")
        for position, item in enumerate(self.items, start=1):
            check_text(item, f"text {position}")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of all texts in order, each ended by a zero byte."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(item.encode("utf-8") + b"\0")
        return digest.hexdigest()


def check_text(value, what: str) -> None:
    """Raise `AdaRankError` unless this is a text: of one word to a million characters, Unicode.

    Parameters
    ----------
    value : object
    what : str
        How the sentence calls it, such as ``"text 3"``.

    Examples
    --------
    >>> check_text("caf\\udce9", "text 3")  # the byte e9 on a command line that is UTF-8
    Traceback (most recent call last):
    ...
    adarank_core.errors.AdaRankError: text 3 is 'caf\\udce9', which is not UTF-8 (character 4); ...
    """
    if not isinstance(value, str):
        raise AdaRankError(f"{what} is {quoted(value)}; it must be a string")
    if len(value) > MOST_CHARACTERS:
        raise AdaRankError(
            f"{what} has {len(value):,} characters; give at most {MOST_CHARACTERS:,}"
        )
    check_limit("text_characters", len(value))
    if not value.strip():
        raise AdaRankError(
            f"{what} is {quoted(value)}, which has no words; write at least one word"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise AdaRankError(
            f"{what} is {quoted(value)}, which is not UTF-8 (character {error.start + 1}); write "
            "it in UTF-8"
        ) from None


def generic_texts() -> Texts:
    """Return sixteen sentences that belong to no task.

    Returns
    -------
    Texts

    Examples
    --------
    >>> generic_texts().source, len(generic_texts())
    ('generic', 16)
    """
    return Texts("generic", GENERIC)


def sentence(text: str) -> Texts:
    """Return one sentence as a text source.

    Parameters
    ----------
    text : str
        Any text with at least one character that is not white space.

    Returns
    -------
    Texts

    Raises
    ------
    AdaRankError
        If the text is blank, too long or not UTF-8.

    Examples
    --------
    >>> sentence("What is a rank?").items
    ('What is a rank?',)
    """
    check_text(text, "the sentence")
    return Texts("sentence", (text.strip(),))


def texts_from_file(path: str | Path) -> Texts:
    """Read one text a line from a plain UTF-8 file; blank lines are passed over.

    Parameters
    ----------
    path : str or pathlib.Path

    Returns
    -------
    Texts

    Raises
    ------
    AdaRankError
        If the file is missing, too large or no plain file, is not UTF-8, or holds no text.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "texts.txt"
    >>> _ = file.write_text("One text.\\n\\nAnother.\\n", encoding="utf-8")
    >>> texts_from_file(file).items
    ('One text.', 'Another.')
    """
    path = Path(path)
    lines = read_text(path).splitlines()
    items = tuple(line.strip() for line in lines if line.strip())
    check_limit("upload_texts", len(items))
    if not items:
        raise AdaRankError(f"{str(path)!r} holds no text; write one text a line")
    return Texts(path.name, items)


def as_texts(texts: "Texts | Sequence[str]") -> Texts:
    """Return ``texts`` as `Texts`; a plain list of strings becomes the source ``"list"``.

    Raises
    ------
    AdaRankError
        If this is none of them; see `Texts`.

    Examples
    --------
    >>> as_texts(["One text."]).source
    'list'
    """
    if isinstance(texts, Texts):
        return texts
    if isinstance(texts, str):
        return sentence(texts)
    if not isinstance(texts, Iterable):
        raise AdaRankError(f"the texts are {quoted(texts)}; give a list of strings")
    return Texts("list", tuple(texts))
