import os
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import warm_up
from pages.parts.shared import state

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("explore", "ranks", "compare", "learn")


@pytest.fixture(scope="module")
def app():
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()


def test_runs_open_with_a_title(app):
    page = app.switch_page("pages/runs.py").run()
    assert not page.exception
    assert len(page.title) == 1


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_with_a_title_and_a_picture(app, name):
    page = app.switch_page(f"pages/{name}.py").run()
    assert not page.exception
    assert not page.error
    assert len(page.title) == 1
    assert page.get("plotly_chart")


def printed(source):
    """Run a program in a process of its own; return the lines it printed."""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, env=os.environ
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


def test_the_first_picture_waits_for_nothing_slow():
    """No page imports torch before it is asked to compute: that alone would take five seconds."""
    source = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"at = AppTest.from_file({str(ROOT / 'app.py')!r}, default_timeout=60).run()\n"
        "assert not at.exception and at.get('plotly_chart')\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets', 'scipy', 'sklearn')"
        " if name in sys.modules])\n"
    )
    assert printed(source) == ["[]"]


def test_while_the_first_browser_loads_the_server_imports_what_its_page_needs():
    """Before it listens it imports next to nothing."""
    source = (
        "import sys, threading\n"
        "begin, threading.Thread.start = threading.Thread.start, lambda thread: None\n"
        "import app\n"
        "print([name for name in ('pandas', 'numpy', 'pydantic') if name in sys.modules])\n"
        "threading.Thread.start = begin\n"
        "app.warm_up()\n"
        "from streamlit.testing.v1 import AppTest\n"
        "before = set(sys.modules)\n"
        f"at = AppTest.from_file({str(ROOT / 'app.py')!r}, default_timeout=60).run()\n"
        "assert at.get('plotly_chart')\n"
        "own = ('adarank_core', 'pages', 'pandas', 'numpy', 'pydantic', 'plotly.validators')\n"
        "print([name for name in sorted(set(sys.modules) - before) if name.startswith(own)])\n"
    )
    assert printed(source) == ["[]", "[]"]


def test_a_damaged_example_is_a_sentence_and_the_pages_can_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "EXAMPLE", tmp_path)
    state.example_scores.cache_clear()  # what other tests have read
    state.example_about.cache_clear()
    warm_up()  # and its thread would end in silence
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert not at.exception
    assert "cannot be read" in at.error[0].value
    assert not at.switch_page("pages/runs.py").run().error


def test_no_page_writes_html():
    for file in [ROOT / "app.py", *(ROOT / "pages").rglob("*.py")]:
        source = file.read_text(encoding="utf-8")
        assert "unsafe_allow_html" not in source, file
        # Of HTML there is the project's own style sheet alone.
        assert "st.html" not in source.replace('st.html(assets / "style.css")', ""), file


def test_the_server_asks_nobody_for_an_address():
    import tomllib

    config = tomllib.loads((ROOT / ".streamlit/config.toml").read_text(encoding="utf-8"))
    assert config["server"]["showEmailPrompt"] is False
    assert config["browser"]["gatherUsageStats"] is False
    assert {"light", "dark"} <= set(config["theme"])
