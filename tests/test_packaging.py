"""Requirements, Dockerfile and README: what a stranger runs first."""

import ast
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.main import get_command

from adarank_core.__main__ import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# torch brings these on Linux where it comes with CUDA, and pins them itself.
WITH_CUDA = re.compile(r"nvidia-|cuda-|triton")


def requirements(file: str) -> list[Requirement]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    kept = [line.split(" #")[0] for line in lines if line and not line.startswith(("#", "-r "))]
    return [Requirement(line) for line in kept]


RUNTIME = requirements("requirements.txt")
EVERYTHING = RUNTIME + requirements("requirements-dev.txt")


# Requirements ------------------------------------------------------------------------------------


def test_every_requirement_is_one_exact_public_version():
    for requirement in EVERYTHING:
        assert re.fullmatch(r"==[0-9.]+", str(requirement.specifier)), requirement
    names = [canonicalize_name(requirement.name) for requirement in EVERYTHING]
    assert len(names) == len(set(names))


def test_the_dev_file_includes_the_first():
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text().splitlines()


@pytest.mark.parametrize("pinned", [RUNTIME, EVERYTHING], ids=["runtime", "dev"])
def test_all_that_a_requirement_brings_is_pinned_too(pinned):
    names = {canonicalize_name(requirement.name) for requirement in pinned}
    for requirement in pinned:
        if requirement.marker and not requirement.marker.evaluate():
            continue
        for line in requires(requirement.name) or ():
            brought = Requirement(line)
            here = brought.marker is None or brought.marker.evaluate({"extra": ""})
            if here and not WITH_CUDA.match(brought.name):
                assert canonicalize_name(brought.name) in names, f"{requirement.name} needs it"


@pytest.mark.parametrize(
    ("pinned", "sources"),
    [
        (RUNTIME, ["app.py", "adarank_core/**/*.py", "pages/**/*.py"]),
        (EVERYTHING, ["assets/**/*.py", "benchmarks/**/*.py", "tests/**/*.py"]),
    ],
    ids=["runtime", "dev"],
)
def test_all_that_the_code_imports_is_pinned(pinned, sources):
    names = {canonicalize_name(requirement.name) for requirement in pinned}
    distributions = packages_distributions()
    for file in (file for pattern in sources for file in ROOT.glob(pattern)):
        for name in imported(file) - sys.stdlib_module_names:
            own = (ROOT / name, ROOT / f"{name}.py", file.with_name(f"{name}.py"))
            if any(place.exists() for place in own):
                continue
            found = {canonicalize_name(owner) for owner in distributions.get(name, ())}
            assert found & names, f"{file.name} imports {name}"


def imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.split(".")[0] for name in names}


# README and .ci/run ------------------------------------------------------------------------------


def test_the_front_matter_makes_a_docker_space():
    _, front, _ = README.split("---\n", 2)
    space = yaml.safe_load(front)
    expected = {"sdk": "docker", "app_port": 8501, "pinned": False, "license": "mit"}
    assert {key: space[key] for key in expected} == expected
    assert space["title"] and len(space["short_description"]) <= 60
    assert ["EXPOSE", str(space["app_port"])] in dockerfile()


def test_the_first_two_commands_of_the_readme():
    commands = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    assert commands[0].strip() == "pip install -r requirements.txt && streamlit run app.py"
    assert commands[1].strip() == "pip install -r requirements-dev.txt && pytest"


def test_the_readme_links_to_files_that_are_there():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_the_library_as_the_readme_shows_it():
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL).group(1)
    names = {}
    exec(code.replace("texts, seed", "texts, trials=2, modules='layer.0.*value', seed"), names)
    assert names["config"].task_type == "SEQ_CLS"
    assert names["config"].rank_pattern


def test_the_command_line_as_the_readme_shows_it():
    lines = re.findall(r"^python -m adarank_core (.*)$", README, flags=re.MULTILINE)
    known = get_command(app).commands
    assert {line.split()[0] for line in lines} == set(known)
    for line in lines:
        name, *words = line.split()
        flags = {flag for parameter in known[name].params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= flags


def test_ci_can_be_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)


# Dockerfile --------------------------------------------------------------------------------------


def dockerfile() -> list[list[str]]:
    """Return the Dockerfile as pairs of instruction and argument."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


class OrdinaryUser:
    """User 1000 where the tests run as root, else whoever runs them, with an empty home."""

    def __init__(self, home: Path):
        self.home = self.folder = home
        self.identity = {}
        if os.geteuid() == 0:
            self.identity = {"user": 1000, "group": 1000, "extra_groups": []}
            os.chown(home, 1000, 1000)
        # Only how this machine reaches a package registry is taken over.
        registry = ("PIP_", "SSL_", "REQUESTS_", "HTTP_", "HTTPS_", "NO_PROXY")
        self.environment = {k: v for k, v in os.environ.items() if k.upper().startswith(registry)}
        self.environment |= {"PATH": "/usr/local/bin:/usr/bin:/bin"}
        self.environment["PATH"] = f"{self.python_folder()}:{self.environment['PATH']}"

    def python_folder(self) -> Path:
        """Where a python3.11 lies that this user may run (the tests' own may lie in /root)."""
        here = Path(sys._base_executable).resolve().parent
        for folder in (here, Path("/usr/local/bin"), Path("/usr/bin")):
            try:
                self.run([str(folder / "python3.11"), "-c", "import ensurepip"], check=True)
                return folder
            except (OSError, subprocess.CalledProcessError):
                continue
        pytest.skip("there is no python3.11 with venv that an ordinary user may run")

    def options(self) -> dict:
        return {"env": self.environment, "cwd": self.folder, **self.identity}

    def run(self, command: list[str], **options) -> subprocess.CompletedProcess:
        return subprocess.run(command, capture_output=True, text=True, **self.options(), **options)

    def at_home(self, text: str) -> str:
        return text.replace("/home/user", str(self.home))

    def work_in(self, path: str) -> None:
        self.folder = Path(self.at_home(path))
        self.folder.mkdir(parents=True, exist_ok=True)

    def set(self, pairs: str) -> None:
        """ENV: several NAME=value, in which $PATH stands for what it is so far."""
        for pair in shlex.split(self.at_home(pairs)):
            name, value = pair.split("=", 1)
            self.environment[name] = value.replace("$PATH", self.environment["PATH"])

    def copy(self, arguments: str) -> None:
        """COPY --chown=user source destination."""
        assert "--chown=user" in arguments
        source, destination = shlex.split(arguments)[-2:]
        target = self.folder / destination
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, target, ignore=ignored)
        else:
            target = Path(shutil.copy2(ROOT / source, target))
        for path in [target, *target.rglob("*")] if self.identity else ():
            os.chown(path, 1000, 1000)


@pytest.fixture
def user():
    home = Path(tempfile.mkdtemp())  # not tmp_path, whose parents only its owner may enter
    home.chmod(0o755)
    try:
        yield OrdinaryUser(home)
    finally:
        shutil.rmtree(home)


@pytest.mark.nightly
def test_the_dockerfile_installs_and_starts_for_an_ordinary_user(user):
    """Everything after USER is done here as the Dockerfile says it; ARGs are the machine's own."""
    steps = dockerfile()
    steps = steps[[name for name, _ in steps].index("USER") :]
    last = dict(steps)
    for name, argument in steps:
        if name == "WORKDIR":
            user.work_in(argument)
        elif name == "ENV":
            user.set(argument)
        elif name == "COPY":
            user.copy(argument)
        elif name == "RUN":
            done = user.run(["/bin/sh", "-c", user.at_home(argument)])
            if done.returncode and "after connection broken" in done.stderr:
                pytest.skip("the package registry cannot be reached")
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    corpus = list((user.home / "adarank" / "cache").glob("docstrings-*.parquet"))
    assert len(corpus) == 1
    assert corpus[0].stat().st_uid != 0

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    start = json.loads(last["CMD"].replace("8501", port))
    check = json.loads(last["HEALTHCHECK"].split("CMD", 1)[1].replace("8501", port))
    in_a_space = user.options()
    in_a_space["env"] = {**in_a_space["env"], "SPACE_ID": "somebody/adarank"}
    log = user.home / "log.txt"
    with log.open("wb") as file:
        server = subprocess.Popen(
            start, stdout=file, stderr=file, start_new_session=True, **in_a_space
        )
    try:
        end = time.monotonic() + 120
        while user.run(check).returncode:
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
            assert "SameSite=None" in answer.headers["Set-Cookie"]
            # A Space is a demo, and in the frame of its hub.
            assert "https://huggingface.co" in answer.headers["Content-Security-Policy"]
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)

    # Healthy is the server alone; that no file was left behind is seen when a page is drawn.
    draw = (
        "from streamlit.testing.v1 import AppTest\n"
        "app = AppTest.from_file('app.py', default_timeout=120).run()\n"
        "assert app.title and not app.exception and not app.error, (app.exception, app.error)"
    )
    drawn = user.run(["python", "-c", draw])
    assert drawn.returncode == 0, drawn.stderr[-2000:]
    assert corpus[0].exists() and len(list(corpus[0].parent.glob("docstrings-*"))) == 1
