"""The page's requests about films: the queue, pixels, masks and the export."""

import gzip
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Body, Depends, File, Header, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from numpy.typing import NDArray

from lung_seg import __version__
from lung_seg.page.access import MAX_REQUEST_MB
from lung_seg.page.export import export
from lung_seg.page.films import REFUSED, UPLOADS, WAITING, Film
from lung_seg.page.opened import OpenedFilm
from lung_seg.page.review import StaleMaskError
from lung_seg.page.state import CurrentReview, CurrentSessions
from lung_seg.page.uploads import MAX_FILES, Uploads, store

BYTES = "application/octet-stream"
MAX_SECONDS = 86_400.0
STALE = "This film was saved in another tab or by another person meanwhile.\nNothing was overwritten: load it again."

router = APIRouter(prefix="/api", tags=["page"])


def _find(film_id: str, review: CurrentReview) -> Film:
    """The film of a request's path."""
    if film_id not in review.films.films:
        raise HTTPException(404, "There is no such film.\nReload the page.")
    return review.films.films[film_id]


FilmOfPath = Annotated[Film, Depends(_find)]


def _open(film: FilmOfPath, review: CurrentReview) -> OpenedFilm:
    """The film of a request's path with its pixels and masks."""
    if film.state == WAITING:
        raise HTTPException(409, "Its mask is not there yet.\nWait a moment.")
    if film.state == REFUSED:
        raise HTTPException(409, str(film.row["error"]))
    return review.opened.open(film)


OpenedOfPath = Annotated[OpenedFilm, Depends(_open)]


@router.get("/session")
def session(review: CurrentReview, sessions: CurrentSessions) -> dict[str, Any]:
    """Begin a page load: its token must be sent as X-Session with every change."""
    return {
        "session": sessions.begin(),
        "version": __version__,
        "input": review.config.input,
        "output": str(review.output),
        "corrections": str(review.corrections.folder),
        "network": {"name": review.network.name, "hash": review.network.digest},
        "limits": {
            "request_mb": MAX_REQUEST_MB,
            "files": MAX_FILES,
            "megapixels": review.config.max_megapixels,
        },
        "second_step": review.network.predictor.second_step is not None,
        "learning": not review.learning.obstacle,
        "remarks": review.remarks,
    }


@router.get("/events")
async def listen(review: CurrentReview) -> StreamingResponse:
    """What changes, as server-sent events: "film", "learning" and "message"."""
    return StreamingResponse(review.events.stream(), media_type="text/event-stream")


@router.get("/films")
def list_films(review: CurrentReview) -> dict[str, Any]:
    """All films, the least trustworthy first."""
    return {"films": [film.as_json() for film in review.films.in_review_order()]}


@router.post("/films")
def add_films(file: Annotated[Uploads, File()], review: CurrentReview) -> dict[str, Any]:
    """Add films to the queue; they are predicted in the background."""
    paths = [store(upload.file, upload.filename, review.output / UPLOADS) for upload in file]
    review.films.add(paths)
    return {"films": [film.as_json() for film in review.films.of(paths)]}


@router.get("/films/{film_id}")
def show(film: OpenedOfPath, review: CurrentReview, header: bool = False) -> dict[str, Any]:
    """A film with its measurements; what its DICOM header says of the patient only on request."""
    return review.describe(film, header)


@router.get("/films/{film_id}/pixels")
def pixels(film: OpenedOfPath) -> Response:
    """Grey values of the film's own depth, little-endian, row by row, air dark."""
    values, low, high = film.full_depth
    height_px, width_px = values.shape
    numbers = {"Width": width_px, "Height": height_px, "Bits": 8 * values.itemsize, "Low": low, "High": high}
    content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    headers = {f"X-{name}": str(number) for name, number in numbers.items()}
    return Response(content, media_type=BYTES, headers=headers)


@router.get("/films/{film_id}/thumbnail")
def thumbnail(film: FilmOfPath, review: CurrentReview) -> Response:
    """The film as a small PNG."""
    return Response(review.opened.thumbnail(film), media_type="image/png")


@router.get("/films/{film_id}/mask")
def mask(film: OpenedOfPath, of: Literal["network", "current"] = "current") -> Response:
    """A label map: 0, 1 (right lung), 2 (left lung), a byte per pixel; the ETag is the film's revision."""
    with film.film.lock:
        labels = film.network_mask if of == "network" else film.current_mask
        revision = film.film.revision
    return _compressed(labels, {"ETag": f'"{revision}"'})


@router.put("/films/{film_id}/mask", response_model=None)
async def save(
    request: Request,
    if_match: Annotated[str, Header()],
    film: OpenedOfPath,
    review: CurrentReview,
    seconds: Annotated[float, Query(ge=0, le=MAX_SECONDS)] = 0.0,
) -> dict[str, Any] | JSONResponse:
    """Save a corrected mask at once; refused if it is not the one of If-Match that it would replace."""
    body, compressed = await request.body(), request.headers.get("content-encoding") == "gzip"
    try:
        return await run_in_threadpool(review.save, film, body, compressed, if_match.strip('"'), seconds)
    except StaleMaskError:
        return JSONResponse({"error": STALE, "revision": film.film.revision}, 409)


@router.delete("/films/{film_id}/mask")
def reset(film: FilmOfPath, review: CurrentReview) -> dict[str, Any]:
    """Go back to the network's mask; the corrected one is moved aside."""
    return review.reset(film)


@router.get("/films/{film_id}/probability")
def probability(film: OpenedOfPath) -> Response:
    """The network's probability of lung, 0 to 255, a byte per pixel."""
    return _compressed(film.probability, {})


@router.get("/films/{film_id}/evidence")
def evidence(film: OpenedOfPath) -> FileResponse:
    """The second step's evidence as a PNG."""
    if not film.evidence_path.is_file():
        raise HTTPException(404, "There is no evidence for this film.\nStart the server with tuberculosis=true.")
    return FileResponse(film.evidence_path, media_type="image/png")


@router.post("/films/{film_id}/looked")
def looked(film: FilmOfPath, review: CurrentReview) -> dict[str, Any]:
    """Note that a person has looked at the film."""
    review.films.look(film)
    return film.as_json()


@router.post("/export")
def write(review: CurrentReview, dicom_seg: Annotated[bool, Body(embed=True)] = False) -> dict[str, Any]:
    """Write masks, overlays and predictions.csv as predict.py does, into a folder of their own."""
    folder, count = export(review, dicom_seg)
    return {"folder": str(folder), "films": count}


def _compressed(values: NDArray[np.uint8], headers: dict[str, str]) -> Response:
    content = gzip.compress(values.tobytes(), compresslevel=1)
    return Response(content, media_type=BYTES, headers={"Content-Encoding": "gzip", **headers})
