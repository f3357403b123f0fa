"""The page, and the two resources that it loads: what the student is, and the assignments."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Route

from serving.payloads import MAX_ATTEMPTS
from serving.students import current_student

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


async def about(_: Request) -> JSONResponse:
    """The served version and its metrics."""
    student = current_student()
    return JSONResponse(
        {
            "model": student.about.model,
            "course": student.about.course,
            "synthetic": student.about.synthetic,
            "method": student.about.method,
            "version": student.about.version,
            "metrics": student.about.metrics,
            "feedback": student.card.feedback,
            "most_attempts": MAX_ATTEMPTS,
        }
    )


async def assignments(_: Request) -> JSONResponse:
    """The names and tasks of the assignments."""
    loaded = current_student().assignments.values()
    return JSONResponse([{"name": assignment.name, "task": assignment.task} for assignment in loaded])


website = Starlette(
    routes=[
        Route("/", index),
        Route("/style.css", asset),
        Route("/page.js", asset),
        Route("/about", about),
        Route("/assignments", assignments),
    ]
)
