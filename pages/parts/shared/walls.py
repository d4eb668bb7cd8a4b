"""What the server adds to its answers behind walls: a visitor's cookie, and headers for browsers.

Streamlit's server takes middleware of the application that ``app.py`` names; see there.
"""

import os
import re
import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from adarank_core.limits import is_walled, limit

__all__ = ["COOKIE", "WORD", "Walls", "new_word", "walls"]

COOKIE = "adarank_visitor"
WORD = re.compile(r"[\w-]{43}", re.ASCII)  # 256 random bits
YEAR = 365 * 24 * 3600  # seconds
FRAMES_OF_SPACES = "https://huggingface.co https://*.hf.space"
# Streamlit's own scripts and styles need the unsafe words; what they keep out is everybody else's.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'"
)


def new_word() -> str:
    """Return a random word that nobody can guess.

    Examples
    --------
    >>> WORD.fullmatch(new_word()) is not None
    True
    """
    return secrets.token_urlsafe(32)


def walls() -> list[Middleware]:
    """Return the middleware of the server: none where there are no walls."""
    return [Middleware(Walls)] if is_walled() else []


class Walls:
    """Give every browser a cookie with a random word, and tell it what the page may be used for.

    Parameters
    ----------
    app : callable
        The next application (ASGI).
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked, in_space = Headers(scope=scope), bool(os.environ.get("SPACE_ID"))
        if refused := _too_large(asked):
            await PlainTextResponse(refused, status_code=413)(scope, receive, send)
            return
        secure = in_space or scope["scheme"] == "https"
        secure = secure or asked.get("x-forwarded-proto", "").split(",")[0].strip() == "https"

        async def send_with_headers(message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_policies(in_space))
                is_page = headers.get("content-type", "").startswith("text/html")
                if (is_page or message["status"] == 304) and not _word(asked):
                    headers.append("set-cookie", _cookie(secure, in_space))
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _too_large(asked: Headers) -> str:
    """Say why a request is refused: an upload is held in memory before any page sees it."""
    most, size = limit("upload_mb"), asked.get("content-length", "0")
    told = size.isdecimal() and "transfer-encoding" not in asked
    if most is None or (told and int(size) <= most * 1e6 + 10_000):  # and its frame
        return ""
    return f"An upload has at most {most:,g} MB here."


def _policies(in_space: bool) -> dict[str, str]:
    frames = f"frame-ancestors 'self'{' ' + FRAMES_OF_SPACES if in_space else ''}"
    found = {
        "content-security-policy": f"{POLICY}; {frames}",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
    }
    # It knows no list of sites; where frames of other sites are meant, the policy alone speaks.
    return found if in_space else {**found, "x-frame-options": "SAMEORIGIN"}


def _word(asked: Headers) -> str:
    try:
        morsel = SimpleCookie(asked.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel and WORD.fullmatch(morsel.value) else ""


def _cookie(secure: bool, in_space: bool) -> str:
    """Return a cookie that no script can read; in a Space's frame it is another site's."""
    how = "SameSite=None; Partitioned" if in_space else "SameSite=Lax"
    safe = "; Secure" if secure else ""
    return f"{COOKIE}={new_word()}; Path=/; Max-Age={YEAR}; HttpOnly; {how}{safe}"
