"""The BentoML service of artificial students; app.py has what it answers."""

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app import Settings, make_app
from serving.bundle import OFFLINE_ENVIRONMENT
from serving.submissions import ROLLOUT_S

app = make_app(Settings.from_environment())


class AllRequests:
    """Middleware that hands every request to `app`, and the rest (startup, shutdown) to BentoML.

    BentoML's own endpoints would answer before an app that is mounted, and log and report in their own way.
    """

    def __init__(self, bentoml_app: ASGIApp) -> None:
        self._bentoml = bentoml_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "http" else self._bentoml)(scope, receive, send)


# The timeout is above the deadlines that the service has itself.
@bentoml.service(
    name="tutee",
    traffic={"timeout": 2 * ROLLOUT_S},
    metrics={"enabled": False},
    envs=[{"name": name, "value": value} for name, value in OFFLINE_ENVIRONMENT.items()],
)
@bentoml.asgi_app(app, path="/")
class ArtificialStudent:
    """Artificial students: give one an assignment and its attempts so far, and it makes the next one."""


ArtificialStudent.add_asgi_middleware(AllRequests)  # type: ignore[attr-defined]
