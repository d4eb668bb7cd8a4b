"""The error that users read, and how the core imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import adarank_core
from adarank_core.errors import AdaRankError, quoted

CORE = Path(adarank_core.__file__).parent


def test_the_error_is_a_value_error_with_its_message():
    with pytest.raises(ValueError, match="rank is 0"):
        raise AdaRankError("rank is 0")


def test_a_message_is_one_printable_line_of_bounded_length():
    hostile = "\x1b[31mred\n\udce9\u202e"
    assert str(AdaRankError(hostile)) == r"\x1b[31mred \udce9\u202e"
    assert len(str(AdaRankError("x" * 10**7))) == 1000
    message = str(AdaRankError(f"the file {'x' * 500!r} isn't there; it's {'y' * 300!r} or 'z'"))
    assert len(message) == 200 + 200 + len("the file  isn't there; it's  or 'z'")
    assert message.startswith("the file 'xxx") and message.endswith("yyy' or 'z'")
    assert "xxx … xxx" in message and "' isn't there; it's 'yyy" in message
    for quotes in ("'" * 10**6, r"\'" * 10**6, "\"' " * 10**6):  # no pattern of them takes long
        assert len(str(AdaRankError(quotes))) <= 1000


def test_what_cannot_be_written_out_is_quoted_all_the_same():
    deep = []
    for _ in range(10**5):
        deep = [deep]
    for value in (10**5000, deep, "x" * 10**6, ["x" * 10**6] * 99, {"a": deep}, b"\xff" * 10**6):
        assert len(quoted(value)) <= 200
    for value in (3, "a", None, 1.5, ["a"], {"a": 1}):
        assert quoted(value) == repr(value)


def test_importing_the_core_waits_for_nothing_heavy():
    code = "import sys, adarank_core; dir(adarank_core); adarank_core.generic_texts; "
    code += "adarank_core.Scores, adarank_core.allocate, adarank_core.Verdict; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "peft", "datasets", "pandas", "scipy", "streamlit"}
    heavy |= {"pydantic"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("name", adarank_core.__all__)
def test_every_public_name_is_there(name):
    assert getattr(adarank_core, name).__name__ == name
    assert name in dir(adarank_core)


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no_such_name"):
        adarank_core.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    "file", sorted(CORE.rglob("*.py")), ids=lambda file: file.relative_to(CORE).as_posix()
)
def test_the_core_stays_without_streamlit_pickle_and_remote_code(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "shell"):
            assert isinstance(node.value, ast.Constant) and node.value.value is False
    assert not imported & {"streamlit", "pickle", "dill", "multiprocessing"}
