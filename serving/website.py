"""The page."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

PAGE = Path(__file__).parent / "page"
HEADERS = {
    # Only this service's own files load: a script in a student's program could not run.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def page_file(name: str) -> FileResponse:
    """A file of the page, with HEADERS."""
    return FileResponse(PAGE / name, headers=HEADERS)


async def index(_: Request) -> FileResponse:
    return page_file("index.html")


async def asset(request: Request) -> FileResponse:
    return page_file(request.url.path.rsplit("/", 1)[-1])


website = Starlette(
    routes=[
        Route("/", index),
        Route("/style.css", asset),
        Route("/page.js", asset),
    ]
)
