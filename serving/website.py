"""The page, and the two things it reads: what the student says of itself, and the assignments."""

from pathlib import Path

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from serving.payloads import MOST_ATTEMPTS

PAGE = Path(__file__).parent / "page"
HEADERS = {
    # Nothing but this service's own files: a program that found its way into the page could not run.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def file(name: str) -> FileResponse:
    return FileResponse(PAGE / name, headers=HEADERS)


async def index(_: Request) -> FileResponse:
    return file("index.html")


async def part(request: Request) -> FileResponse:
    return file(request.url.path.rsplit("/", 1)[-1])


async def about(_: Request) -> JSONResponse:
    room = bentoml.get_current_service().classroom
    return JSONResponse(
        {
            "model": room.about.model,
            "course": room.about.course,
            "synthetic": room.about.synthetic,
            "method": room.about.method,
            "version": room.about.version,
            "metrics": room.about.metrics,
            "feedback": room.card.feedback,
            "most_attempts": MOST_ATTEMPTS,
        }
    )


async def assignments(_: Request) -> JSONResponse:
    room = bentoml.get_current_service().classroom
    return JSONResponse([{"name": one.name, "task": one.task} for one in room.assignments.values()])


website = Starlette(
    routes=[
        Route("/", index),
        Route("/style.css", part),
        Route("/page.js", part),
        Route("/about", about),
        Route("/assignments", assignments),
    ]
)
