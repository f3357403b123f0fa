"""What `/metrics` shows. BentoML's own metrics are off: they add a series for every unknown path."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REGISTRY = CollectorRegistry()
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

REQUESTS = Counter("tutee_requests", "Requests", ["endpoint", "status"], registry=REGISTRY)
LATENCY = Histogram(
    "tutee_request_seconds", "Time of a request", ["endpoint"], buckets=_SECONDS, registry=REGISTRY
)
TOKENS = Counter("tutee_tokens", "Tokens read (prompt) and written", ["model", "kind"], registry=REGISTRY)
OUTCOMES = Counter(
    "tutee_submissions", "Submissions by how they ended", ["model", "outcome"], registry=REGISTRY
)
QUEUE = Gauge("tutee_queue", "Students' turns that are being answered or wait for it", registry=REGISTRY)
SWAPS = Counter("tutee_champion_swaps", "Champions that began to answer", ["course"], registry=REGISTRY)
LOAD_FAILURES = Counter(
    "tutee_load_failures", "Champions that could not be loaded", ["course"], registry=REGISTRY
)
MODEL = Gauge("tutee_champion", "The champion that answers", ["course", "model"], registry=REGISTRY)

_answering: dict[str, str | None] = {}


def serving(course: str, model: str | None) -> None:
    """Notes which champion answers for a course."""
    before = _answering.get(course)
    if before is not None and before != model:
        MODEL.remove(course, before)
    if model is not None:
        MODEL.labels(course, model).set(1)
    _answering[course] = model


def text() -> bytes:
    """All series, in Prometheus's format."""
    return generate_latest(REGISTRY)


class RequestMetrics:
    """Middleware that counts and times requests by the route that answers them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route = scope.get("route")  # set by the router; unknown paths have none
            endpoint = getattr(route, "path", "other")
            REQUESTS.labels(endpoint, str(status)).inc()
            LATENCY.labels(endpoint).observe(time.perf_counter() - begun)
