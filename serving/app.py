"""The HTTP interface of the service, all of it: BentoML's own endpoints are not reached."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import chat, info, steering, submissions
from serving.access import Access
from serving.capacity import Capacity
from serving.errors import ErrorBody, add_handlers
from serving.events import CancelOnDisconnect
from serving.grading import Graders
from serving.limits import BodyLimit
from serving.metrics import RequestMetrics
from serving.openapi import document
from serving.parents import end_with_parents
from serving.recording import Recorder
from serving.state import State
from serving.students import Students
from serving.website import website

# Where a Bento has its catalog: in a folder beside the code.
BENTO_CATALOG = Path(__file__).parent.parent / "student" / "catalog.json"


@dataclass(frozen=True)
class Settings:
    """What the service is told by environment variables, which `tutee serve` sets."""

    catalog: Path
    keys: Path | None = None
    cors_origins: tuple[str, ...] = ()
    record: Path | None = None
    probe_token: str | None = None

    @classmethod
    def from_environment(cls) -> "Settings":
        """Reads TUTEE_CATALOG, TUTEE_KEYS, TUTEE_CORS_ORIGINS, TUTEE_RECORD and TUTEE_PROBE_TOKEN."""

        def path(name: str) -> Path | None:
            return Path(os.environ[name]) if os.environ.get(name) else None

        return cls(
            path("TUTEE_CATALOG") or BENTO_CATALOG,
            path("TUTEE_KEYS"),
            tuple(os.environ.get("TUTEE_CORS_ORIGINS", "").split()),
            path("TUTEE_RECORD"),
            os.environ.get("TUTEE_PROBE_TOKEN"),
        )


def make_app(settings: Settings) -> FastAPI:
    """The service. Its students are loaded, and followed, while its lifespan lasts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # First: without a sandbox there is no service.
        graders = await asyncio.to_thread(Graders)
        students = Students(settings.catalog)
        app.state.service = State(students, graders, Capacity())
        tasks = [asyncio.create_task(work) for work in (students.watch(), end_with_parents())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            students.close()
            graders.close()

    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody} for status in (400, 401, 403, 404, 413, 415, 429, 500, 503, 504)
    }
    app = FastAPI(
        title="tutee",
        summary="Artificial students, trained from a course's own submission logs.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        responses=problems,
    )
    app.state.started = int(time.time())
    for router in (submissions.router, steering.router, chat.router, info.router):
        app.include_router(router)
    app.add_api_route("/docs.json", lambda: document(app), include_in_schema=False)
    app.router.routes.extend(website.routes)
    add_handlers(app)
    # The last one added is the first to see a request.
    if settings.record:
        app.add_middleware(Recorder, folder=settings.record)
    app.add_middleware(CancelOnDisconnect)
    app.add_middleware(BodyLimit)  # reads a body, of a caller whom Access has let in
    app.add_middleware(
        Access, keys_file=settings.keys, cors_origins=settings.cors_origins, probe_token=settings.probe_token
    )
    app.add_middleware(ModelHeader, state=app.state)
    app.add_middleware(RequestMetrics)
    return app


class ModelHeader:
    """Middleware that names, in every response, the version that answered, or else the champions."""

    def __init__(self, app: ASGIApp, state: Any) -> None:
        self.app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        state = scope.setdefault("state", {})

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                courses = self._state.service.students.courses.values()
                champions = [course.student.model for course in courses if course.student]
                name = state.get("model") or ",".join(champions) or "none"
                message["headers"] = [*message["headers"], (b"x-tutee-model", name.encode())]
            await send(message)

        await self.app(scope, receive, named)
