"""What a result's numbers depend on besides what was asked for: the versions of it all."""

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["versions"]

PACKAGES = ("torch", "transformers", "peft", "datasets", "numpy", "streamlit")  # where installed


def versions() -> dict:
    """Return the versions of Python and of what a run's numbers depend on.

    Packages that are not installed are left out: Streamlit is needed by the pages alone.
    ``revision`` is this code's commit where it is a git checkout, with ``+`` where it was changed.

    Examples
    --------
    >>> versions()["torch"].startswith("2.")
    True
    """
    known = {"python": platform.python_version(), "machine": platform.machine()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            known[name] = version(name)
    revision = _revision()
    return {**known, "revision": revision} if revision else known


def _revision() -> str:
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    here = Path(__file__).resolve().parent
    try:
        said = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):  # no git here
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""
