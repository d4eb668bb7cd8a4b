"""Where AdaRank keeps what it makes: caches that can be rebuilt, and runs that cannot."""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

__all__ = ["cache_folder", "runs_folder"]


def cache_folder() -> Path:
    """Return the folder for what can be rebuilt, made if missing.

    ``$ADARANK_HOME/cache`` when that variable is set, else the user's cache folder.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> cache_folder().is_dir()
    True
    """
    return _made("cache", user_cache_path("adarank"))


def runs_folder() -> Path:
    """Return the folder that holds one folder a run, made if missing.

    ``$ADARANK_HOME/runs`` when that variable is set, else the user's data folder.

    Returns
    -------
    pathlib.Path

    Examples
    --------
    >>> runs_folder().name
    'runs'
    """
    return _made("runs", user_data_path("adarank") / "runs")


def _made(name: str, default: Path) -> Path:
    home = os.environ.get("ADARANK_HOME")
    folder = Path(home) / name if home else default
    folder.mkdir(parents=True, exist_ok=True)
    return folder
