"""Files of strangers: what they make a reader do is bounded by what their headers say."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, uid
from pydicom.encaps import encapsulate

from lung_seg.errors import UserError
from lung_seg.raw.radiograph import open_radiograph, read_radiograph
from tests.layouts import write_dicom

SIDE_PX = 2000
# Prints the bytes per pixel by which the peak of resident memory grows; a file of few pixels loads the reader's parts.
MEASURE = """
import re, sys
from pathlib import Path
from lung_seg.raw.radiograph import read_radiograph

def peak_bytes():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

read_radiograph(Path(sys.argv[1]))
before = peak_bytes()
grey = read_radiograph(Path(sys.argv[2]))
print((peak_bytes() - before) / grey.size)
"""


def bands(side_px: int) -> np.ndarray:
    values = np.full((side_px, side_px), 50, np.uint8)
    values[:, : side_px // 2] = 200
    return values


def rgba(side_px: int, path: Path) -> None:
    Image.fromarray(bands(side_px)).convert("RGBA").save(path, compress_level=1)


def rgba_of_16_bits(side_px: int, path: Path) -> None:
    cv2.imwrite(str(path), cv2.merge([bands(side_px).astype(np.uint16)] * 3 + [np.full((side_px,) * 2, 9, np.uint16)]))


def palette(side_px: int, path: Path) -> None:
    Image.fromarray(bands(side_px)).convert("P").save(path, transparency=7)


def floats(side_px: int, path: Path) -> None:
    Image.fromarray(bands(side_px).astype(np.float32)).save(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("write", "name", "most"),
    [(rgba, "x.png", 8), (rgba_of_16_bits, "x.png", 22), (palette, "x.png", 5), (floats, "x.tif", 13)],
)
def test_a_radiograph_is_decoded_in_few_bytes_a_pixel(tmp_path: Path, write, name: str, most: float) -> None:
    small, large = tmp_path / f"small_{name}", tmp_path / name
    write(8, small)
    write(SIDE_PX, large)
    command = [sys.executable, "-c", MEASURE, str(small), str(large)]
    measured = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 0 < float(measured.stdout) < most


def test_a_large_image_shows_each_pixel_as_far_as_it_is_opaque(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey, alpha = rng.integers(0, 256, (2, 300, 700), np.uint8)
    Image.merge("RGBA", [Image.fromarray(channel) for channel in (grey, grey, grey, alpha)]).save(tmp_path / "x.png")
    shown = read_radiograph(tmp_path / "x.png")
    assert np.abs(shown - grey * (alpha / 255)).max() <= 1


@pytest.mark.parametrize(
    ("syntax", "name"),
    [(uid.JPEG2000Lossless, "JPEG2000"), (uid.JPEGLSLossless, "JPEG-LS"), (uid.JPEGBaseline8Bit, "JPEG")],
    ids=["JPEG 2000", "JPEG-LS", "JPEG"],
)
def test_a_stream_larger_than_its_header_says_is_not_decoded(tmp_path: Path, monkeypatch, syntax, name) -> None:
    path = tmp_path / "x.dcm"
    write_dicom(path, np.zeros((640, 640), np.uint8))
    dataset = dcmread(path)
    if name == "JPEG-LS":
        dataset.compress(syntax)
    else:
        file = BytesIO()
        Image.new("L", (640, 640)).save(file, name, **({"no_jp2": True} if name == "JPEG2000" else {}))
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([file.getvalue()])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    assert open_radiograph(path).pixels.shape == (640, 640)

    dataset.Rows = dataset.Columns = 64
    dataset.save_as(path)
    monkeypatch.setattr("pydicom.pixels.utils.pixel_array", lambda *_, **__: pytest.fail("was decoded"))
    with pytest.raises(UserError, match=r"x\.dcm cannot be used as a chest radiograph"):
        open_radiograph(path)
