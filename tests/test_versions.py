"""The versions that a result is kept with."""

from importlib.metadata import PackageNotFoundError

from adarank_core import versions


def test_a_run_says_what_code_it_ran(tmp_path, monkeypatch):
    revision = versions.versions().get("revision", "")
    assert revision == "" or len(revision.removesuffix("+")) == 40
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert "revision" not in versions.versions()


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def version(name):
        if name == "streamlit":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(versions, "version", version)
    assert "streamlit" not in versions.versions()
    assert versions.versions()["torch"] == "1.0"
