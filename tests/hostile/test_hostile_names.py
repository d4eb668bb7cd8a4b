"""Names and sentences of other people: on every page text, and never Markdown, HTML or a link."""

import json
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from streamlit.testing.v1 import AppTest

from adarank_core.comparison.judging import verdict_of
from adarank_core.files import runs_folder, write_json
from adarank_core.runs import store
from adarank_core.scoring.scores import ModuleScore, Scores
from pages.parts.shared import state

APP = str(Path(__file__).resolve().parents[2] / "app.py")
HOSTILE = "www.evil.org <b>b</b> [l](http://evil.org) :red[r] me@evil.org %{x} **zork** $y$"
RAW = ("www.evil", "<b>b", "](http", ":red[r", "me@evil", "**zork", "$y$")  # what must not be left
IN_FIGURES = ("<b>b", "%{x} **")
# What shows any text as it is, whatever stands in it.
PLAIN = {
    ("page_link", "query_string"),  # quoted
    ("code", "code_text"),
    ("selectbox", "options"),
    ("selectbox", "raw_value"),
}
PLAIN |= {("multiselect", "options"), ("multiselect", "raw_values")}
STAMP = "20261124-23092{}-000001-{}"


def strings(message):
    """Yield the name and value of every text in a message that goes to the browser."""
    for field, value in message.ListFields():
        many = not isinstance(value, str | bytes | dict) and hasattr(value, "__len__")
        for one in value if many and not hasattr(value, "items") else [value]:
            if field.type == FieldDescriptor.TYPE_STRING:
                yield field.name, one
            elif hasattr(one, "ListFields"):
                yield from strings(one)


def elements(node):
    yield node
    for child in getattr(node, "children", {}).values():
        yield from elements(child)


def interpreted(at):
    """Return what of a page a browser would take for more than text, and how many texts it has."""
    assert not at.exception
    found, seen = [], 0
    for element in elements(at._tree):
        for name, text in strings(element.proto) if getattr(element, "proto", None) else ():
            seen += "evil" in text
            if element.type == "plotly_chart":
                found += [(name, text) for part in IN_FIGURES if part in _written(text)]
            elif (element.type, name) not in PLAIN:
                found += [(element.type, name, text) for part in RAW if part in text]
    return found, seen


def _written(spec):
    """Return what may be written of a figure: all but the keys that tie its traces together."""
    if not spec.startswith("{"):
        return spec
    return json.dumps(
        json.loads(
            spec, object_hook=lambda part: {k: v for k, v in part.items() if k != "legendgroup"}
        ),
        ensure_ascii=False,
    )


def made(number, kind, ending):
    """Make the folder of a run in which all that can be named has a hostile name."""
    folder = runs_folder() / STAMP.format(number, kind)
    folder.mkdir()
    name = HOSTILE.replace("/", "-")
    arms = ["uniform", "adarank", f"/srv/{name}.json"]
    about = {"model": HOSTILE, "task": f"/srv/{name}", "average_rank": 2.0}
    settings = {"steps": 10, "batch_size": 32}
    config = {"command": kind, **about, "arms": arms, "seeds": [0, 1], "settings": settings}
    write_json(folder / "config.json", {**config, "versions": {HOSTILE: HOSTILE}})
    write_json(folder / "command.json", {"command": ["python", HOSTILE], "time": 1.0})
    store.set_tags(folder, [HOSTILE[:40]])
    pair = {"arm": arms[2], "seed": 0, "time": 5.0}
    events = [{"event": "step", **pair, "step": step, "train_loss": 1.5} for step in (1, 2)]
    events += [{"event": "evaluation", **pair, "step": 1, "validation_loss": 1.25}]
    events += [{"event": "arm-failed", **pair, "message": HOSTILE}, {**ending, "time": 9.0}]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    losses = {arms[0]: (0.5, 0.7), arms[2]: (0.4, 0.65)}
    done = {
        arm: {
            "lora_parameters": 9,
            "allocation_seconds": 0.5,
            "runs": [{"seed": seed, "test_loss": loss} for seed, loss in enumerate(each)],
        }
        for arm, each in losses.items()
    }
    verdict = verdict_of(HOSTILE, HOSTILE, done, {"adarank": HOSTILE})
    write_json(folder / "verdict.json", verdict.to_dict())
    return folder


def opened(page, keys=()):
    at = AppTest.from_file(APP, default_timeout=60)
    for key, value in dict(keys).items():
        at.session_state[key] = value
    return at.switch_page(f"pages/{page}.py").run()


#: What Explore and Ranks draw only where it is open.
FOLDED = ("explore_data", "again", "config_lines", "elsewhere", "rank_rows")


@pytest.mark.parametrize(
    ("page", "keys"),
    [
        ("explore", {}),
        ("explore", {"view": "Profile over depth"}),
        ("ranks", {"beside": "these, as they are now"}),
        ("ranks", {"budget": "adaptive", "share": "family"}),
    ],
)
def test_names_in_scores_are_text(home, page, keys):
    names = [(layer, f"{family}{HOSTILE}") for layer in range(3) for family in "ab"]
    modules = tuple(
        ModuleScore(f"{layer}.{name}", layer, name, 64, 64, 0.1 + layer, 0.001)
        for layer, name in names
    )
    texts = {"source": HOSTILE, "count": 3, "sha256": "0"}
    scores = Scores(HOSTILE, "paper", "fast", 1.0, 0, texts, modules, trials=4)
    shown = state.Shown(scores, "computed now", "generic", HOSTILE)
    keys = {"scores": {"generic": shown}, **dict.fromkeys(FOLDED, True), **keys}
    found, seen = interpreted(opened(page, keys))
    assert not found and seen >= 4


ENDINGS = [
    {"event": "finished"},
    {"event": "failed", "message": HOSTILE},
    {"event": "finished", "message": HOSTILE},
]


@pytest.mark.parametrize("ending", ENDINGS)
def test_names_in_a_run_are_text(home, ending):
    one = made(0, "compare", ending)
    other, alone = made(1, "compare", ending), made(2, "finetune", ending)
    store.delete(made(3, "compare", ending))
    damaged = made(4, "compare", ending)
    write_json(damaged / "config.json", {"model": [HOSTILE]})
    pages = [("compare", {"compare_run": folder.name}) for folder in (one, damaged)]
    selections = ([one], [alone], [damaged], [one, other])
    pages += [("runs", {"runs_selected": [run.name for run in runs]}) for runs in selections]
    for page, keys in pages:
        found, seen = interpreted(opened(page, keys))
        assert not found and seen > 2, (page, keys)


def test_a_model_that_was_typed_is_text(home):
    for page in ("explore", "ranks", "compare", "runs"):
        found, seen = interpreted(opened(page, {"model": HOSTILE}))
        assert not found and seen, page
