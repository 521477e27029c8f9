"""The web application: what is served, who may use it, and errors as JSON."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from lung_seg import __version__
from lung_seg.errors import UserError
from lung_seg.page import film_routes, learning_routes, service
from lung_seg.page.access import Access, Sessions
from lung_seg.page.network import BusyError
from lung_seg.page.review import Review

STATIC = Path(__file__).with_name("static")


def create_app(review: Review, token: str | None = None) -> FastAPI:
    """The application; with a token, every request needs it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        review.close()

    app = FastAPI(
        title="lung_seg",
        version=__version__,
        description="Lungs in chest radiographs. A research tool, not a device. Nothing leaves this machine.",
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.review, app.state.sessions = review, Sessions()
    app.add_middleware(Access, sessions=app.state.sessions, host=review.config.host, token=token)
    _report_errors(app)
    for module in (service, film_routes, learning_routes):
        app.router.routes += module.router.routes  # include_router would build them anew, in the thread of a request

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


def _report_errors(app: FastAPI) -> None:
    """Every error as ``{"error": text}``."""

    @app.exception_handler(UserError)
    def user_error(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(BusyError)
    def busy(_: Request, error: BusyError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503, {"Retry-After": "2"})

    @app.exception_handler(OSError)
    def os_error(_: Request, error: OSError) -> JSONResponse:
        reason = error.strerror or "it cannot be used"
        text = f"{error.filename or 'A file'}: {reason}.\nFix that (disk space, permissions); what was saved is kept."
        return JSONResponse({"error": text}, 500)

    @app.exception_handler(HTTPException)
    def http_error(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}.\n/docs lists what each request takes."}, 422)
