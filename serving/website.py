"""The page: its files, and the headers that they are sent with."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route, Router

PAGE = Path(__file__).parent / "page"
HEADERS = {
    # Only this service's own files load: a script in a student's program could not run.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def page_file(request: Request) -> FileResponse:
    """The file of the page that the path names; of `/`, the page itself."""
    return FileResponse(PAGE / (request.url.path.rsplit("/", 1)[-1] or "index.html"), headers=HEADERS)


website = Router(
    routes=[
        Route("/", page_file),
        *(Route(f"/{file.name}", page_file) for file in sorted(PAGE.iterdir()) if file.name != "index.html"),
    ]
)
