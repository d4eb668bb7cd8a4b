import asyncio
import re

import pytest

from pages.parts.shared.walls import COOKIE, WORD, Walls, new_word, walls


def answer(headers=(), scheme="http", kind="text/html; charset=utf-8", status=200, method="GET"):
    """Ask for a page behind the walls; return status and headers, which may come twice."""
    sent = []

    async def page(scope, receive, send):
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", kind.encode()), (b"x-frame-options", b"ALLOW")],
            }
        )
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "scheme": scheme, "method": method, "path": "/"}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in dict(headers).items()]
    asyncio.run(Walls(page)(scope, receive, send))
    found = [(key.decode(), value.decode()) for key, value in sent[0]["headers"]]
    return sent[0]["status"], found


def cookies(*given, **asked):
    return [value for name, value in answer(*given, **asked)[1] if name == "set-cookie"]


def test_there_is_nothing_of_it_without_walls(monkeypatch):
    assert walls() == []
    monkeypatch.setenv("ADARANK_PRIVATE", "1")
    assert [one.cls for one in walls()] == [Walls]


def test_a_page_is_in_no_frame_but_its_own():
    found = dict(answer()[1])
    assert "frame-ancestors 'self'" in found["content-security-policy"].split("; ")
    assert "default-src 'self'" in found["content-security-policy"]
    assert found["x-frame-options"] == "SAMEORIGIN"
    assert found["x-content-type-options"] == "nosniff"
    assert found["referrer-policy"] == "no-referrer"


def test_a_space_is_shown_in_the_frame_of_its_hub(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/adarank")
    found = dict(answer()[1])
    policy = found["content-security-policy"].split("; ")[-1]
    assert policy == "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
    assert "SAMEORIGIN" not in found.values()
    assert cookies()[0].endswith("HttpOnly; SameSite=None; Partitioned; Secure")


def test_a_browser_gets_one_word_that_nobody_else_gets():
    first, second = cookies()[0], cookies()[0]
    word = re.match(rf"{COOKIE}=([\w-]+); Path=/; Max-Age=\d+; HttpOnly; SameSite=Lax$", first)[1]
    assert WORD.fullmatch(word) and word not in second
    assert not cookies({"cookie": f"a=b; {COOKIE}={word}"})
    assert cookies(status=304) and not cookies(kind="text/css")
    assert cookies(scheme="https")[0].endswith("; Secure")
    assert cookies({"x-forwarded-proto": "https, http"})[0].endswith("; Secure")


@pytest.mark.parametrize("word", ["", "x", "../../etc", "a" * 44, '"' * 43, "a" * 42 + "/", "=;,"])
def test_a_word_that_is_none_of_ours_is_replaced(word):
    assert len(cookies({"cookie": f"{COOKIE}={word}"})) == 1


def test_an_upload_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setenv("ADARANK_DEMO", "1")
    assert answer({"content-length": "4000000"}, method="PUT")[0] == 200
    assert answer({"content-length": "6000000"}, method="PUT")[0] == 413
    assert answer({"content-length": "many"}, method="PUT")[0] == 413
    assert answer({"transfer-encoding": "chunked"}, method="PUT")[0] == 413
    monkeypatch.setenv("ADARANK_DEMO", "0")
    assert answer({"content-length": "6000000"}, method="PUT")[0] == 200
    assert WORD.fullmatch(new_word())
