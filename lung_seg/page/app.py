"""The web application: the page's own API, and the files of the page."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, File, Header, HTTPException, Query, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from lung_seg import __version__
from lung_seg.config import ServeConfig
from lung_seg.errors import UserError
from lung_seg.page import service
from lung_seg.page.access import MAX_REQUEST_MB, Access, Sessions
from lung_seg.page.corrections import Corrections, Source
from lung_seg.page.events import Events
from lung_seg.page.films import UPLOADS, Film, Films, find_film, paths_of
from lung_seg.page.label_map import decode_labels, measure_lungs
from lung_seg.page.network import Busy, Network
from lung_seg.page.opened import OpenedFilm, OpenedFilms
from lung_seg.page.uploads import MAX_FILES, store
from lung_seg.prediction.predictor import SecondStep

STATIC = Path(__file__).with_name("static")
BYTES = "application/octet-stream"


def create_app(config: ServeConfig, second_step: SecondStep | None = None, token: str | None = None) -> FastAPI:
    """The application; with a token, every request needs it."""
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    events, sessions = Events(), Sessions()
    network = Network(config, second_step)
    corrections = Corrections(Path(config.corrections))
    films = Films(output, network, corrections, lambda film: events.send("film", film.as_json()))
    opened = OpenedFilms(films)
    paths, remarks = paths_of(config.input, output)
    films.add(paths)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        events.close()
        films.close()
        network.close()

    app = FastAPI(title="lung_seg", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Access, sessions=sessions, host=config.host, token=token)  # type: ignore[arg-type]
    _report_errors(app)
    service.add_routes(app, network)

    def film_of(film_id: str) -> Film:
        try:
            return find_film(films, film_id)
        except UserError as error:
            raise HTTPException(404, str(error)) from error

    def opened_film(film: Annotated[Film, Depends(film_of)]) -> OpenedFilm:
        if film.state in ("waiting", "refused"):
            raise HTTPException(409, film.row.get("error") or "Its mask is not there yet.\nWait a moment.")
        return opened.open(film)

    AFilm = Annotated[Film, Depends(film_of)]
    AnOpenedFilm = Annotated[OpenedFilm, Depends(opened_film)]

    @app.get("/", include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/api/session", tags=["page"])
    def session() -> dict[str, Any]:
        """Begin a page load: its token must be sent as X-Session with every change."""
        return {
            "session": sessions.begin(),
            "version": __version__,
            "input": config.input,
            "output": str(output),
            "corrections": str(corrections.folder),
            "network": {"name": network.name, "hash": network.digest},
            "limits": {
                "request_mb": MAX_REQUEST_MB,
                "files": MAX_FILES,
                "megapixels": config.max_megapixels,
            },
            "second_step": second_step is not None,
            "learning": True,
            "remarks": remarks,
        }

    @app.get("/api/films", tags=["page"])
    def list_films() -> dict[str, Any]:
        """All films, the least trustworthy first."""
        return {"films": [film.as_json() for film in films.in_review_order()]}

    @app.post("/api/films", tags=["page"])
    def add_films(file: Annotated[list[UploadFile], File()]) -> dict[str, Any]:
        """Add films to the queue; they are predicted in the background."""
        if len(file) > MAX_FILES:
            raise HTTPException(413, f"{len(file)} files are more than {MAX_FILES}.\nSend fewer at once.")
        paths = [store(upload.file, upload.filename, output / UPLOADS) for upload in file]
        films.add(paths)
        return {"films": [film.as_json() for film in films.of(paths)]}

    @app.get("/api/events", tags=["page"])
    def listen() -> StreamingResponse:
        """What changes, as server-sent events."""
        return StreamingResponse(events.stream(), media_type="text/event-stream")

    @app.get("/api/films/{film_id}", tags=["page"])
    def show(it: AnOpenedFilm, header: bool = False) -> dict[str, Any]:
        """A film with its measurements; what its DICOM header says of the patient only on request."""
        radiograph = it.radiograph
        labels = it.current_mask
        return it.film.as_json() | {
            "spacing_mm": radiograph.spacing_mm,
            "bits": 8,
            "measurements": measure_lungs(labels, radiograph.spacing_mm),
            "remarks": list(radiograph.remarks),
            "finding": None,
            "header": None,
        }

    @app.get("/api/films/{film_id}/pixels", tags=["page"])
    def pixels(it: AnOpenedFilm) -> Response:
        """Grey values of the film's own depth."""
        values = it.radiograph.pixels
        headers = {
            "X-Width": str(values.shape[1]),
            "X-Height": str(values.shape[0]),
            "X-Bits": "8",
            "X-Low": "0",
            "X-High": "255",
        }
        return Response(values.tobytes(), media_type=BYTES, headers=headers)

    @app.get("/api/films/{film_id}/thumbnail", tags=["page"])
    def thumbnail(film: AFilm) -> Response:
        """The film as a small PNG."""
        return Response(opened.thumbnail(film), media_type="image/png")

    @app.get("/api/films/{film_id}/mask", tags=["page"])
    def mask(it: AnOpenedFilm, of: Annotated[str, Query(pattern="^(network|current)$")] = "current") -> Response:
        """A label map: 0, 1 (right lung), 2 (left lung), a byte per pixel."""
        with it.film.lock:
            labels, revision = it.network_mask if of == "network" else it.current_mask, it.film.revision
        return _compressed(labels, {"ETag": f'"{revision}"'})

    @app.put("/api/films/{film_id}/mask", tags=["page"], response_model=None)
    async def save(
        request: Request,
        it: AnOpenedFilm,
        if_match: Annotated[str, Header()],
        seconds: Annotated[float, Query(ge=0, le=86400)] = 0.0,
    ) -> Any:
        """Save a corrected mask at once; refused if somebody else has saved this film meanwhile."""
        body = await request.body()
        compressed = request.headers.get("content-encoding", "") == "gzip"
        return await network.aside(_save, it, body, compressed, if_match, seconds)

    def _save(it: OpenedFilm, body: bytes, compressed: bool, if_match: str, seconds: float) -> Any:
        labels = decode_labels(body, compressed, *it.radiograph.pixels.shape)
        film = it.film
        with film.lock:
            if if_match.strip('"') != str(film.revision):
                return _conflict(film)
            source = Source(film.case, film.job.path)
            row = corrections.save(source, it.radiograph, it.network_mask, labels, seconds, network.digest)
            film.revision, film.corrected = row["revision"], True
        events.send("film", film.as_json())
        return film.as_json() | {"dice_before_after": row["dice_before_after"]}

    @app.delete("/api/films/{film_id}/mask", tags=["page"], response_model=None)
    def reset(film: AFilm) -> Any:
        """Go back to the network's mask; the corrected one is moved aside."""
        with film.lock:
            if film.corrected:
                corrections.remove(film.case)
                film.revision, film.corrected = film.revision + 1, False
        events.send("film", film.as_json())
        return film.as_json()

    @app.get("/api/films/{film_id}/probability", tags=["page"])
    def probability(it: AnOpenedFilm) -> Response:
        """The network's probability of lung, 0 to 255, a byte per pixel."""
        return _compressed(it.probability, {})

    @app.post("/api/films/{film_id}/looked", tags=["page"])
    def looked(film: AFilm) -> dict[str, Any]:
        """Note that a person has looked at the film."""
        films.look(film)
        return film.as_json()

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _compressed(values: np.ndarray[Any, Any], headers: dict[str, str]) -> Response:
    content = gzip.compress(values.tobytes(), compresslevel=1)
    return Response(content, media_type=BYTES, headers={"Content-Encoding": "gzip", **headers})


def _conflict(film: Film) -> JSONResponse:
    message = "This film was saved elsewhere meanwhile, in another tab or by another person.\nNothing was overwritten."
    return JSONResponse({"error": message, "revision": film.revision}, 409)


def _report_errors(app: FastAPI) -> None:
    """Every error as {"error": text}."""

    @app.exception_handler(UserError)
    def user_error(_: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(Busy)
    def busy(_: Request, __: Busy) -> JSONResponse:
        return JSONResponse({"error": "Too many radiographs are waiting.\nTry again soon."}, 503, {"Retry-After": "2"})

    @app.exception_handler(StarletteHTTPException)
    def http_error(_: Request, error: StarletteHTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}.\n/docs lists what each request takes."}, 422)
