"""The HTTP head of a client, pure: parse it, check it, decide what is asked, write an answer.

A website in the user's browser can reach a loopback port, so nothing is done for a request whose
Host is not ours (rebinding) or, for the WebSocket, whose Origin is foreign; and nearly everything
needs the token. Source: docs/api.md, "Endpoints".
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection, Mapping
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

import attrs
import h11

from lanspread import limits
from lanspread.proof import is_nonce

HEALTH, SCHEMA, METRICS, SOCKET = "/healthz", "/schema", "/metrics", "/ws"
COVER_PREFIX = "/cover/"
_SCRIPTS = (
    "actions", "app", "ask", "connection", "covers", "dom", "format", "game", "graph", "icons",
    "notices", "operations", "peers", "refresh", "routes", "search", "settings", "shelf", "store",
    "toasts", "welcome",
)  # fmt: skip
_STYLES = ("base", "game", "panels", "shelf")
# Paths of the page; none of them says anything about this peer.
PAGE: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
    **{f"/{name}.css": (f"{name}.css", "text/css; charset=utf-8") for name in _STYLES},
}
_WITH_TOKEN = frozenset({SCHEMA, METRICS, SOCKET})
_PATHS = frozenset({HEALTH, *PAGE}) | _WITH_TOKEN


class Refused(Exception):
    """The request is answered with this status and sentence."""

    def __init__(self, status: HTTPStatus, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@attrs.frozen
class Head:
    """A request's head. Header names are lower case; of a repeated header the last counts."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


def parse_head(data: bytes) -> Head | None:
    """The head at the start of `data`, or None while it is not all there.

    Raises `Refused` for what is not HTTP/1.x or longer than `limits.MAX_HTTP_HEAD_BYTES`.
    """
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.MAX_HTTP_HEAD_BYTES)
    try:
        parser.receive_data(data)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused(HTTPStatus(error.error_status_hint), "this is not an HTTP request") from None
    if event is h11.NEED_DATA:
        if len(data) >= limits.MAX_HTTP_HEAD_BYTES:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too long")
        return None
    if not isinstance(event, h11.Request):
        raise Refused(HTTPStatus.BAD_REQUEST, "this is not an HTTP request")
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        if name in ("host", "origin") and name in headers:
            raise Refused(HTTPStatus.BAD_REQUEST, f"more than one {name} header")
        headers[name] = value
    try:
        target = urlsplit(event.target.decode("ascii"))
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, "this is not a request target") from None
    return Head(event.method.decode("ascii"), target.path, target.query, headers)


def check(head: Head, token: str, hosts: Collection[str]) -> None:
    """Whether this request may be answered at all. Raises `Refused`.

    The Host comes first: a page that reached us by a name that is not ours learns nothing else.
    """
    host = head.headers.get("host", "")
    if not host_allowed(host, hosts):
        raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "this Host is not served here")
    if head.path not in _PATHS and not head.path.startswith(COVER_PREFIX):
        raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
    if head.method != "GET":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is supported here", Allow="GET")
    if head.path not in _WITH_TOKEN:
        return
    origin = head.headers.get("origin")
    if head.path == SOCKET and origin is not None and origin.lower() != f"http://{host.lower()}":
        raise Refused(HTTPStatus.FORBIDDEN, "this Origin may not connect")
    if not token_matches(head, token):
        raise Refused(
            HTTPStatus.UNAUTHORIZED, "the token is missing or wrong", WWW_Authenticate="Bearer"
        )
    if head.path == SOCKET:
        _check_upgrade(head)


def _check_upgrade(head: Head) -> None:
    # wsproto would refuse these as well, but by breaking off instead of with an answer.
    tokens = {part.strip().lower() for part in head.headers.get("connection", "").split(",")}
    if "upgrade" not in tokens or head.headers.get("upgrade", "").lower() != "websocket":
        raise Refused(
            HTTPStatus.UPGRADE_REQUIRED,
            "this path speaks WebSocket",
            Upgrade="websocket",
            Connection="upgrade",
        )
    if head.headers.get("sec-websocket-version") != "13":
        raise Refused(
            HTTPStatus.UPGRADE_REQUIRED,
            "WebSocket version 13 is needed",
            Sec_WebSocket_Version="13",
        )
    if "sec-websocket-key" not in head.headers:
        raise Refused(HTTPStatus.BAD_REQUEST, "Sec-WebSocket-Key is missing")


def host_allowed(header: str, hosts: Collection[str]) -> bool:
    """Whether a Host header names loopback or one of `hosts`; any port will do."""
    name = host_name(header)
    if name is None:
        return False
    if name == "localhost" or name in {host.lower() for host in hosts}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str | None:
    """The host of a Host header in lower case, without port and brackets; None if it has none."""
    host, colon, port = header.rpartition(":")
    if not colon or header.endswith("]"):
        host, port = header, "0"
    # No scope ids: loopback has none, and they may hold any character.
    if not host or "%" in host or not (port.isascii() and port.isdigit()):
        return None
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1].lower()
    return None if ":" in host else host.lower()


def token_matches(head: Head, token: str) -> bool:
    """Whether the token was given as `Authorization: Bearer` or `?token=`, in constant time."""
    candidates = parse_qs(head.query).get("token", [])[:1]
    scheme, _, credentials = head.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        candidates.append(credentials.strip())
    return any(
        hmac.compare_digest(candidate.encode("utf-8", "replace"), token.encode())
        for candidate in candidates
    )


def cover_asked(head: Head) -> tuple[str, str] | None:
    """The game and the key of a request for a picture, None if it is for something else.

    No token: the key is good for this one picture and can only come from who had the token.
    """
    if not head.path.startswith(COVER_PREFIX):
        return None
    key = parse_qs(head.query).get("key", [""])[0]
    return unquote(head.path.removeprefix(COVER_PREFIX)), key


def nonce_asked(head: Head) -> str | None:
    """What `/healthz` is to be proved over, None if nothing (or nothing that will do) was given."""
    nonce = parse_qs(head.query).get("nonce", [""])[0]
    return nonce if is_nonce(nonce) else None


def page_policy(host: str) -> str:
    """The page's content security policy: its own files, its own WebSocket, nothing inline."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        # Some browsers do not count ws: to the same host as 'self'. The Host was checked before.
        f"connect-src 'self' ws://{host}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def response(
    status: HTTPStatus,
    body: bytes,
    content_type: str = "text/plain; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole answer; the connection ends after it."""
    fields = {
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        **(headers or {}),
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def refusal(refused: Refused) -> bytes:
    """The answer for a refused request."""
    return response(refused.status, refused.message.encode() + b"\n", headers=refused.headers)
