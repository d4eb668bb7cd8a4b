from types import SimpleNamespace

import pytest

from pages.parts.learn import room_link


@pytest.mark.parametrize(
    ("chosen", "query"),
    [
        ({}, {}),
        ({"seed": 7, "rank": 4, "min": 1}, {"seed": "7", "rank": "4"}),
        (
            {"model": "bert-base-cased", "task": "trec"},
            {"model": "bert-base-cased", "task": "trec"},
        ),
        ({"task": "own file", "step": "Noise", "run": "mine", "picked": "a,b"}, {}),
    ],
)
def test_a_link_says_what_is_not_as_usual_and_nothing_of_ones_own(monkeypatch, chosen, query):
    monkeypatch.setattr(room_link.link.st, "session_state", {room_link.link.MEMORY: chosen})
    assert room_link.choices() == query


@pytest.mark.parametrize(
    ("seen", "host"),
    [
        ("http://localhost:8501/teach", "192.0.2.33"),
        ("http://127.0.0.1:8501/", "192.0.2.33"),
        ("http://10.1.2.3:8501/teach", "10.1.2.3"),
        (None, "192.0.2.33"),
    ],
)
def test_a_link_has_an_address_that_others_reach(monkeypatch, seen, host):
    class Socket:
        def __init__(self, *kind):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def connect(self, address):
            pass

        def getsockname(self):
            return ("192.0.2.33", 40000)

    monkeypatch.setattr(room_link.socket, "socket", Socket)
    monkeypatch.setattr(room_link.st, "context", SimpleNamespace(url=seen))
    assert room_link.own_address() == f"http://{host}:8501"


def test_without_a_network_the_address_stays(monkeypatch):
    def refuse(self, address):
        raise OSError("Network is unreachable")

    class Socket(room_link.socket.socket):
        connect = refuse

    monkeypatch.setattr(room_link.socket, "socket", Socket)
    monkeypatch.setattr(room_link.st, "context", SimpleNamespace(url="https://localhost/teach"))
    assert room_link.own_address() == "https://localhost"


@pytest.mark.parametrize(
    ("address", "bound", "seen", "only_here"),
    [
        ("http://192.0.2.7:8501", "0.0.0.0", "http://localhost:8501/teach", False),
        ("http://192.0.2.7:8501", None, "http://localhost:8501/teach", False),
        ("http://192.0.2.7:8501", "localhost", "http://localhost:8501/teach", True),
        ("https://school.example", "127.0.0.1", "https://school.example/teach", False),  # a proxy
        ("http://localhost:8501", "0.0.0.0", "http://localhost:8501/teach", True),
        ("127.0.0.9:8501", "0.0.0.0", "http://localhost:8501/teach", True),
        ("http://[::1]:8501", "0.0.0.0", "http://localhost:8501/teach", True),
        ("http://[", "0.0.0.0", None, False),  # what somebody is typing
    ],
)
def test_it_is_known_who_can_open_a_link(monkeypatch, address, bound, seen, only_here):
    monkeypatch.setattr(room_link.st, "get_option", {"server.address": bound}.get)
    monkeypatch.setattr(room_link.st, "context", SimpleNamespace(url=seen))
    assert room_link.only_here(address) == only_here


def test_an_address_without_a_scheme_still_makes_a_link():
    assert room_link.link_of(" 192.0.2.7:8501", "learn", {}) == "http://192.0.2.7:8501/learn?"
