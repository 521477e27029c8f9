"""For other programs: POST /predict, a health check, and the description of the interface."""

from base64 import b64encode
from html import escape
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Request, UploadFile
from fastapi.responses import HTMLResponse

from lung_seg import __version__
from lung_seg.errors import UserError
from lung_seg.page.label_map import measure_lungs, run_lengths, to_labels
from lung_seg.page.network import Network
from lung_seg.page.state import CurrentNetwork
from lung_seg.page.uploads import Uploads, safe_name, temporary_file
from lung_seg.raw.image_file import png_bytes

MaskFormat = Literal["rle", "png", "none"]


router = APIRouter()


@router.get("/health", tags=["programs"])
def health(network: CurrentNetwork) -> dict[str, str]:
    """Whether the server answers, and what with."""
    return {"status": "ok", "version": __version__, "weights": network.digest[:8]}


@router.post("/predict", tags=["programs"])
async def predict(
    file: Annotated[Uploads, File()], network: CurrentNetwork, mask: MaskFormat = "rle"
) -> dict[str, Any]:
    """Predict radiographs: areas and boxes of both lungs, quality, warning, and the mask.

    The mask is "rle": label, length, label, length … row by row, with the labels 0, 1 (right lung) and 2 (left
    lung); or "png": base64 of a PNG of these labels.
    """
    return {"results": [await network.run(_predict, network, upload, mask) for upload in file]}


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """What the interface takes and answers, as a page."""
    return HTMLResponse(_interface_page(request.app.openapi()))


def _predict(network: Network, upload: UploadFile, mask: MaskFormat) -> dict[str, Any]:
    name = safe_name(upload.filename)
    with temporary_file(upload.file, upload.filename) as path:
        try:
            radiograph = network.open(path)
        except UserError as error:
            return {"name": name, "error": str(error).replace(str(path), name)}
        prediction = network.predict(radiograph)
        labels = to_labels(prediction.right, prediction.left)
        height_px, width_px = labels.shape
        result = {
            "name": name,
            "width_px": width_px,
            "height_px": height_px,
            **measure_lungs(labels, radiograph.spacing_mm),
            "quality": round(prediction.quality, 4),
            "warning": prediction.warning or None,
        }
        if mask == "rle":
            result["mask"] = run_lengths(labels)
        elif mask == "png":
            result["mask"] = b64encode(png_bytes(labels)).decode()
        return result


def _interface_page(schema: dict[str, Any]) -> str:
    """The interface as a page without scripts: FastAPI's own one loads them from another host."""
    requests = "\n".join(
        f"<h2>{method.upper()} {escape(path)}</h2>\n<pre>{escape(request.get('description', ''))}</pre>\n"
        f"<ul>{''.join(map(_parameter, request.get('parameters', [])))}</ul>"
        for path, methods in schema["paths"].items()
        for method, request in methods.items()
    )
    title = escape(f"{schema['info']['title']} {schema['info']['version']}")
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<h1>{title}</h1>
<p>{escape(schema["info"]["description"])}</p>
<p>For programs: POST /predict and GET /health. The others are the page's own; each change needs the header
X-Session with the session of GET /api/session. <a href="/openapi.json">openapi.json</a> has the types.</p>
{requests}
</html>"""


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    kind = " | ".join(map(str, schema["enum"])) if "enum" in schema else schema.get("type", "any")
    default = f", {schema['default']}" if "default" in schema else ""
    return f"<li><code>{escape(parameter['name'])}</code> ({parameter['in']}): {escape(kind + default)}</li>"
