import doctest
import errno

from pages.parts.shared import uploads


def test_examples():
    assert doctest.testmod(uploads).failed == 0


def test_an_upload_cannot_leave_its_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(uploads.st, "session_state", Session(uploads=str(tmp_path)))
    for name in ("../../up.csv", "..\\up.csv", "/etc/up.csv", "..", ""):
        path = uploads.save_upload(name, b"x")
        assert path.parent.parent == tmp_path
        assert path.resolve().is_relative_to(tmp_path)


def test_equal_uploads_lie_at_one_path(monkeypatch, tmp_path):
    monkeypatch.setattr(uploads.st, "session_state", Session(uploads=str(tmp_path)))
    assert uploads.save_upload("a.csv", b"x") == uploads.save_upload("a.csv", b"x")
    assert uploads.save_upload("a.csv", b"x") != uploads.save_upload("a.csv", b"y")


def test_an_upload_is_written_whole_and_once(monkeypatch, tmp_path):
    folder = tmp_path / "tidied" / "up"  # by the system, as temporary folders are
    monkeypatch.setattr(uploads.st, "session_state", Session(uploads=str(folder)))
    written = []

    def write_whole(path, content):
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr(uploads, "write_whole", write_whole)
    path = uploads.save_upload("a.csv", b"x")
    assert uploads.save_upload("a.csv", b"x") == path and written == [path]
    assert path.read_bytes() == b"x"


def test_uploads_are_capped_and_a_full_disk_is_one_sentence(monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(uploads.st, "error", said.append)
    monkeypatch.setattr(uploads.st, "session_state", Session(uploads=str(tmp_path)))
    monkeypatch.setattr(uploads, "MOST_UPLOADED", 1e-5)  # ten bytes
    assert uploads.save_upload("a.csv", b"123456") is not None
    assert uploads.save_upload("b.csv", b"7890123") is None and "uploads of this session" in said[0]
    assert uploads.save_upload("a.csv", b"123456") is not None  # it is there

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(uploads, "write_whole", full)
    assert uploads.save_upload("c.csv", b"7") is None and "No space left" in said[1]


def test_uploads_go_with_their_session(monkeypatch):
    session = Session()
    monkeypatch.setattr(uploads.st, "session_state", session)
    path = uploads.save_upload("a.csv", b"x")
    assert path.exists()
    session["uploads_folder"].cleanup()  # as happens when nobody holds it any more
    assert not path.exists()


class Session(dict):
    """A session state without a session."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__
