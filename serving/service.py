"""The BentoML service of artificial students; app.py has what it answers."""

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app import Settings, make_app

app = make_app(Settings.from_environment())


class AllRequests:
    """Middleware that hands every request to `app`, and the rest (startup, shutdown) to BentoML.

    BentoML's own endpoints would answer before an app that is mounted, and log and report in their own way.
    """

    def __init__(self, bentoml_app: ASGIApp) -> None:
        self._bentoml = bentoml_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "http" else self._bentoml)(scope, receive, send)


# A rollout of thirty students may take minutes; app.py has deadlines of its own.
@bentoml.service(name="tutee", traffic={"timeout": 3600}, metrics={"enabled": False})
@bentoml.asgi_app(app, path="/")
class ArtificialStudent:
    """Artificial students: give one an assignment and its attempts so far, and it makes the next one."""


ArtificialStudent.add_asgi_middleware(AllRequests)  # type: ignore[attr-defined]
