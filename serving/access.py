"""Who may use the service: what every request has to pass before anything of it is read.

This one middleware stands before all endpoints, those that BentoML adds among them. Without keys the service
is for the programs and the browser of its own machine alone; with keys, for whoever sends one.
"""

import ipaddress
import logging
import math
import re
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import ApiError
from serving.keys import Key, Keys, KeysFile
from serving.token_bucket import TokenBucket
from serving.website import PAGE
from tutee_grader.errors import InputError

log = logging.getLogger(__name__)

# What needs no key, for it holds no data: the files of the page, which asks for all that it shows with a key.
PAGE_PATHS = {"/"} | {f"/{file.relative_to(PAGE).as_posix()}" for file in PAGE.rglob("*.*")}
# These too, for whoever restarts a service that does not answer; without a key they answer with no details.
PROBES = {"/livez", "/readyz"}

LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
ORIGIN = re.compile(r"https?://[^/\s*]+")
READING = {"GET", "HEAD"}
KEY_HELP = "`tutee keys add NAME`, on the machine of the service, makes one"


class Access:
    """ASGI middleware that answers requests which may not be made, and passes the others on.

    It tells `app` in `scope["state"]["unauthenticated"]` that an answer may hold no details. `cors_origins`
    are the origins (scheme://host:port) of other sites whose scripts may use the service. With `probe_token`
    in place of a key PROBES answer with details too: `tutee serve` asks them of its own service.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys_file: Path | None,
        cors_origins: Sequence[str] = (),
        probe_token: str | None = None,
    ) -> None:
        if wrong := [origin for origin in cors_origins if not ORIGIN.fullmatch(origin)]:
            raise InputError(
                f"TUTEE_CORS_ORIGINS: {', '.join(map(repr, wrong))}: not an origin; write each as "
                "scheme://host or scheme://host:port, as in https://tutor.example.org, with blanks between"
            )
        self._app = app
        self._keys_file = KeysFile(keys_file) if keys_file else None
        self._probe_token = probe_token
        self._had_keys = False
        self._buckets: dict[str, TokenBucket] = {}
        self._origins = frozenset(cors_origins)
        self._cors = CORSMiddleware(
            self._guarded,
            allow_origins=self._origins,
            allow_methods=("GET", "POST"),
            allow_headers=("*",),  # OpenAI's client sends a dozen of its own
            expose_headers=("X-Tutee-Model", "Retry-After"),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there is none; a framework's own would need no key
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _only(Headers(scope=scope), "origin") in self._origins:
            await self._cors(scope, receive, send)  # answers preflights, which carry no key
        else:
            await self._guarded(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            authenticated = self._check_caller(scope, headers)
            self._check_request(scope, headers)
        except ApiError as refused:
            await refused.response()(scope, receive, send)
            return
        scope.setdefault("state", {})["unauthenticated"] = not authenticated
        await self._app(scope, receive, send)

    def _check_caller(self, scope: Scope, headers: Headers) -> bool:
        """Whether the answer may hold details."""
        keys = self._keys()
        # A service that has asked for keys does so until it ends: revoking the last one opens it to nobody.
        self._had_keys |= bool(keys)
        if not self._had_keys:
            _check_local(scope, headers)
            return True
        key = _sent_key(headers, keys)
        if scope["method"] in READING and scope["path"] in PAGE_PATHS | PROBES:
            token = _bearer(headers)
            return key is not None or bool(
                self._probe_token and secrets.compare_digest(token.encode(), self._probe_token.encode())
            )
        if key is None and "authorization" in headers:
            raise _unauthorized(f"`Authorization` holds no valid key of this service; {KEY_HELP}")
        if key is None:
            raise _unauthorized(f"this service needs a key, sent as `Authorization: Bearer KEY`; {KEY_HELP}")
        self._check_rate(key)
        return True

    def _keys(self) -> Keys:
        try:
            return self._keys_file.read() if self._keys_file else Keys()
        except InputError as error:
            log.error("no request is answered: %s", error)
            message = "the service cannot read its keys; its log says why"
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, "not_ready", message) from error

    def _check_rate(self, key: Key) -> None:
        if key.sha256 not in self._buckets:
            self._buckets[key.sha256] = TokenBucket(key.per_minute)
        if wait := self._buckets[key.sha256].take():
            raise ApiError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "rate_limit_exceeded",
                f"the key {key.name!r} may make {key.per_minute:,} requests a minute; wait {wait:.1f} s",
                headers={"Retry-After": str(math.ceil(wait))},
            )

    def _check_request(self, scope: Scope, headers: Headers) -> None:
        """A page of another site can make a browser send simple requests, but none that passes these."""
        if scope["method"] == "POST" and not _is_json(headers):
            raise ApiError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "the body must be JSON, sent with `Content-Type: application/json`",
            )
        origins = set(headers.getlist("origin"))
        own = f"{scope['scheme']}://{_only(headers, 'host') or ''}".lower()
        foreign = origins - self._origins - {own}
        from_elsewhere = scope["method"] not in READING and headers.get("sec-fetch-site") in {
            "cross-site",
            "same-site",  # another port of this host, say
        }
        if foreign or (from_elsewhere and not origins):
            raise ApiError(
                HTTPStatus.FORBIDDEN,
                "forbidden_origin",
                "pages of other sites may not use this service; `tutee serve --cors-origin ORIGIN` lets one",
            )


def _check_local(scope: Scope, headers: Headers) -> None:
    """Without keys: the caller is on this machine, speaks to it by its own name, and for nobody else."""
    if not _is_loopback(scope.get("server")) or not _is_loopback(scope.get("client")):
        raise _unauthorized(f"without keys, this service answers its own machine only; {KEY_HELP}")
    if any(_is_of_proxy(name) for name in headers):
        raise _unauthorized(f"without keys, this service answers no request through a proxy; {KEY_HELP}")
    # A name that an attacker's own server resolves to 127.0.0.1 makes their page one of this origin.
    if not LOOPBACK_HOST.fullmatch(_only(headers, "host") or ""):
        raise ApiError(
            HTTPStatus.FORBIDDEN,
            "forbidden_host",
            "without keys, this service goes by the names localhost, 127.0.0.1 and [::1] only",
        )


def _is_loopback(address: tuple[str, int | None] | None) -> bool:
    """False for a Unix socket, which has a path."""
    try:
        ip = ipaddress.ip_address(address[0] if address else "")
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _is_of_proxy(header: str) -> bool:
    return header in {"forwarded", "via", "x-real-ip"} or header.startswith("x-forwarded-")


def _sent_key(headers: Headers, keys: Keys) -> Key | None:
    secret = _bearer(headers)
    return keys.find(secret) if secret else None


def _bearer(headers: Headers) -> str:
    """What is sent as `Authorization: Bearer ...`, or nothing."""
    scheme, _, secret = (_only(headers, "authorization") or "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _is_json(headers: Headers) -> bool:
    media_type = (_only(headers, "content-type") or "").partition(";")[0]
    return media_type.strip().lower() == "application/json"


def _only(headers: Headers, name: str) -> str | None:
    """The value of a header that stands there once: of two, others may have read another one."""
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else None


def _unauthorized(message: str) -> ApiError:
    headers = {"WWW-Authenticate": "Bearer"}
    return ApiError(HTTPStatus.UNAUTHORIZED, "invalid_api_key", message, headers=headers)
