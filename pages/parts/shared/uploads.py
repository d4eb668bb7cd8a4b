"""Files that somebody uploads: one that is the task, and where all are kept."""

import hashlib
import re
import tempfile
from pathlib import Path

import streamlit as st

from adarank_core.data.tables import KINDS
from adarank_core.data.tasks import load_task
from adarank_core.errors import AdaRankError
from adarank_core.files import write_whole
from adarank_core.limits import check_limit, is_walled, limit
from adarank_core.runs.visitors import UPLOADS, check_room
from pages.parts.shared import state, visitor

__all__ = ["draw_own_file", "save_upload"]

MOST_UPLOADED = 500  # megabytes a session


def draw_own_file() -> None:
    """Draw the uploader; the newest file that could be read is in use."""
    upload = st.file_uploader(
        "CSV, JSONL or Parquet with the columns text and label",
        type=[kind.removeprefix(".") for kind in KINDS],
        key="task_file",
        max_upload_size=_most_uploaded(),
    )
    if upload is not None and st.session_state.get("task_file_id") != upload.file_id:
        path = save_upload(upload.name, upload.getvalue())
        try:
            if path is not None:
                load_task(path)
        except AdaRankError as error:
            state.show_error(error, path)
            path = None
        if path is not None:
            st.session_state.task_file_id = upload.file_id
            st.session_state.task_path = str(path)
    path = st.session_state.get("task_path")
    used = "No file is in use yet." if path is None else f"In use: {state.plain(Path(path).name)}"
    st.caption(used)


def _most_uploaded() -> int | None:
    most = limit("upload_mb")
    return None if most is None else max(1, int(most))


def save_upload(name: str, content: bytes) -> Path | None:
    """Keep an uploaded file in a temporary folder of its own, as long as the session lasts.

    A visitor's lies among his runs, until it is swept as they are.

    Parameters
    ----------
    name : str
        As the browser sent it; only harmless characters of it are kept.
    content : bytes

    Returns
    -------
    pathlib.Path or None
        Equal files of one session lie at the same path. None where it cannot be kept, on a full
        disk or beside too much else, which is said.

    Examples
    --------
    >>> save_upload("../my file.csv", b"text,label").name
    'my_file.csv'
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    try:
        check_limit("upload_mb", len(content) / 1e6)
        if is_walled():
            st.session_state.uploads = str(visitor.runs_home() / UPLOADS)
        elif "uploads" not in st.session_state:
            # It is removed when the session is forgotten, or the server ends.
            kept = tempfile.TemporaryDirectory(prefix="adarank-", ignore_cleanup_errors=True)
            st.session_state.uploads_folder, st.session_state.uploads = kept, kept.name
        uploads = Path(st.session_state.uploads)
        folder = uploads / hashlib.sha256(content).hexdigest()[:12]
        path = folder / (re.sub(r"[^\w.-]+", "_", last).lstrip(".")[-80:] or "file")
        if path.exists():  # a run may be reading it, and its folder tells its content
            return path
        size = sum(file.stat().st_size for file in uploads.rglob("*") if file.is_file())
        if is_walled():
            check_room(visitor.runs_home(), megabytes=len(content) / 1e6)
        elif size + len(content) > MOST_UPLOADED * 1e6:
            raise AdaRankError(
                f"{last!r} would make the uploads of this session more than {MOST_UPLOADED} MB; "
                "reload the page to begin anew"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        state.show_error(AdaRankError(f"{last!r} cannot be kept ({error.strerror}); make room"))
    except AdaRankError as error:
        state.show_error(error)
    else:
        return path
    return None
