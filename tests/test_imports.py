"""The order in which the code's folders build on each other, as DESIGN's layout has it."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: From the foundation to the roof: a file imports from its own floor and from those before it.
FLOORS = (
    (
        "errors",
        "checks",
        "patterns",
        "numerals",
        "limits",
        "files",
        "server_paths",
        "kept",
        "schemas",
        "hardware",
        "versions",
        "workers",
    ),
    ("data",),
    ("scoring",),
    ("ranks",),
    ("training",),
    ("comparison",),
    ("lab",),
    ("runs",),
    ("commands", "__main__"),
)
#: Seconds to import: what a page or ``--help`` must not wait for.
SLOW = {"torch", "transformers", "peft", "datasets", "accelerate", "safetensors"}
SLOW |= {"huggingface_hub", "sklearn", "scipy", "pandas", "pydantic"}

CORE = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): file
    for file in sorted((ROOT / "adarank_core").rglob("*.py"))
}
PAGES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): file
    for file in sorted((ROOT / "pages").rglob("*.py"))
}
FILES = CORE | PAGES


@cache
def imports(name: str) -> tuple[tuple[str, bool], ...]:
    """Return the modules that a file imports, and whether each import stands at its top."""
    found = []

    def visit(node: ast.AST, top: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append((whole if whole in FILES else node.module, top))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return  # for readers alone; nothing is imported
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, top and not inside)

    visit(ast.parse(FILES[name].read_text(encoding="utf-8")), True)
    return tuple(found)


def own(name: str) -> set[str]:
    """Return the files of this project that a file imports, wherever in it."""
    return {module for module, _ in imports(name) if module in FILES}


@cache
def is_slow(name: str) -> bool:
    """Tell whether importing a file imports something slow."""
    if name not in FILES:
        return name.split(".")[0] in SLOW
    return any(top and module != name and is_slow(module) for module, top in imports(name))


def floor(name: str) -> int:
    part = name.split(".")[1]
    return next(at for at, parts in enumerate(FLOORS) if part in parts)


@pytest.mark.parametrize("name", [n for n in CORE if n != "adarank_core.__init__"])
def test_a_file_imports_from_its_own_floor_and_those_below(name):
    for module in own(name):
        assert module.startswith("adarank_core."), f"{name} imports {module}, which is a page"
        assert floor(module) <= floor(name), f"{name} imports {module}, which builds on it"


def test_no_two_files_import_each_other():
    """Nor three in a ring, nor hidden in a function."""
    open_, done = [], set()

    def walk(name: str) -> None:
        if name in open_:
            pytest.fail(" → ".join([*open_[open_.index(name) :], name]))
        if name not in done:
            open_.append(name)
            for module in sorted(own(name)):
                walk(module)
            done.add(open_.pop())

    for name in FILES:
        walk(name)


@pytest.mark.parametrize("name", FILES)
def test_what_is_imported_inside_a_function_is_slow(name):
    """An import is hidden for the seconds that it takes, and not to get round a circle."""
    for module, top in imports(name):
        if not top:
            assert is_slow(module), f"{name} imports {module} inside a function; move it to the top"
