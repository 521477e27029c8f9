"""Who may use the page: checks of every request before it reaches the application, and the headers of every answer.

A web page of another site may send requests to 127.0.0.1 too, through the browser of whoever has both open. The Host
header gives away names that were rebound to this machine, Origin and Sec-Fetch-Site requests of other sites.
"""

import hmac
import ipaddress
import secrets
import socket
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_REQUEST_MB = 512
MAX_SESSIONS = 1000  # page loads that are remembered
COOKIE = "lung_seg_token"
ALL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - with a token only
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Sessions:
    """The page loads that may change something; each has a token of its own."""

    def __init__(self) -> None:
        self._tokens: dict[str, None] = {}

    def begin(self) -> str:
        """A new token; the oldest one is forgotten if there are too many."""
        token = secrets.token_urlsafe(16)
        self._tokens[token] = None
        if len(self._tokens) > MAX_SESSIONS:
            self._tokens.pop(next(iter(self._tokens)))
        return token

    def __contains__(self, token: str | None) -> bool:
        return token in self._tokens


class Access:
    """ASGI middleware: refuses requests of other sites and strangers, and bounds the size of what is sent."""

    def __init__(self, app: ASGIApp, sessions: Sessions, host: str, token: str | None):
        self.app = app
        self.sessions = sessions
        self.token = token  # None: only this machine reaches the server
        self.names = {"localhost", host.lower(), *([] if token is None else [socket.gethostname().lower()])}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an HTTP request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answered.setdefault(name, value)
                if not scope["path"].startswith("/static/"):
                    answered.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal:
            code, reason = refusal
            response = JSONResponse({"error": reason}, code)
            await response(scope, receive, send_with_headers)
        elif self.token and (given := parse_qs(scope["query_string"].decode("latin-1")).get("token")):
            await self._sign_in(given[0])(scope, receive, send_with_headers)
        else:
            await self.app(scope, _bounded(receive), send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and reason for a request that is not answered; None if it is."""
        host = headers.get("host", "")
        if not self._is_own_name(host):
            return 421, f"Host {host[:100]!r} is not this server.\nOpen the address that serve.py printed."
        origin, method = headers.get("origin"), scope["method"]
        is_page = method == "GET" and scope["path"] == "/"
        other_site = headers.get("sec-fetch-site") == "cross-site" and not is_page
        if other_site or (origin is not None and origin.partition("://")[2].lower() != host.lower()):
            return 403, "Other sites may not use this server.\nOpen its own page."
        if int(headers.get("content-length") or 0) > MAX_REQUEST_MB * 1_000_000:
            return 413, too_large()
        if self.token and not self._has_token(headers, scope):
            return 401, "This server needs its token.\nOpen the address with ?token=… that serve.py printed."
        changes = method not in SAFE_METHODS and scope["path"].startswith("/api/")
        if changes and headers.get("x-session") not in self.sessions:
            return 401, "The request has no valid X-Session.\nReload the page: the server was started again."
        return None

    def _is_own_name(self, host: str) -> bool:
        """Whether a Host header names this machine: an address cannot be rebound, a name can."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self.names:
                return True
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.token is not None

    def _has_token(self, headers: Headers, scope: Scope) -> bool:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        query = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        given = (cookie.value if cookie else "", bearer, query)
        return any(hmac.compare_digest(text.encode(), str(self.token).encode()) for text in given)

    def _sign_in(self, given: str) -> RedirectResponse:
        """The page without the token in its address, which histories and logs keep; a cookie has it from now on."""
        response = RedirectResponse("/", 303)
        response.set_cookie(COOKIE, given, httponly=True, samesite="strict")
        return response


def too_large() -> str:
    """Why a body is refused."""
    return f"The request is larger than {MAX_REQUEST_MB} MB.\nSend fewer files at once."


def _bounded(receive: Receive) -> Receive:
    """Refuse a body that turns out to be too large, whatever its Content-Length said."""
    received = 0

    async def bounded_receive() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_REQUEST_MB * 1_000_000:
            raise HTTPException(413, too_large())
        return message

    return bounded_receive


def addresses(host: str, port: int, token: str | None) -> list[str]:
    """The page's addresses as a browser takes them, on this machine first."""
    names = ["localhost", socket.gethostname()] if host in ALL_ADDRESSES else [f"[{host}]" if ":" in host else host]
    query = f"?{urlencode({'token': token})}" if token else ""
    return [f"http://{name}:{port}/{query}" for name in names]
