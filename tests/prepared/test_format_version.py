"""A prepared set's pixels belong to its version: who changes them raises store.FORMAT_VERSION."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lung_seg.config import DataConfig
from lung_seg.prepared.prepare import prepare
from lung_seg.prepared.store import FORMAT_VERSION
from tests import layouts

# Of the pixels that each version prepares from write_files(). After a change of pixels, files or columns raise
# FORMAT_VERSION and add its line; sets of the earlier version are then prepared again. Lines are never changed.
PIXELS = {2: {"stretch": "92555ec7e3859cd4", "letterbox": "c70c3fd66e66610d"}}


def draw(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A chest of smooth gradients, made of whole numbers so that every machine draws the same one: (128, 128)."""
    rows, columns = np.mgrid[:128, :128]
    lungs = ((rows - 64) ** 2 // 4 + (columns - 36) ** 2 < 480) | ((rows - 64) ** 2 // 4 + (columns - 92) ** 2 < 480)
    return np.where(lungs, 40, 150) + (rows + columns * (number + 1)) % 64, lungs


def write_files(raw: Path) -> None:
    """Radiographs of 8 and 16 bits, with alpha, of DICOM with and without a window, and landscape."""
    for number, name in enumerate(("a", "b", "c", "d", "e", "f")):
        image, lungs = draw(number)
        layouts.write_mask(raw / "masks" / f"{name}.png", lungs[:, :96] if name == "f" else lungs)
        eight = image.astype(np.uint8)
        if name == "a":
            layouts.write_image(raw / "images" / "a.png", eight)
        elif name == "b":
            layouts.write_image(raw / "images" / "b.png", (image * 16 + 100).astype(np.uint16))
        elif name == "c":
            layouts.save(Image.fromarray(np.dstack([eight] * 3 + [np.full_like(eight, 255)])), raw / "images/c.png")
        elif name == "d":
            window = {"WindowCenter": 1600, "WindowWidth": 2600, "BitsStored": 12}
            layouts.write_dicom(raw / "images" / "d.dcm", (image * 16).astype(np.uint16), **window)
        elif name == "e":
            inverse = (4095 - image * 16).astype(np.uint16)
            monochrome = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12}
            layouts.write_dicom(raw / "images" / "e.dcm", inverse, **monochrome)
        else:
            layouts.write_image(raw / "images" / "f.png", eight[:, :96])


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_the_pixels_of_a_version_do_not_change(tmp_path, resize):
    write_files(tmp_path / "raw")
    data = DataConfig(name="x", source="folder", raw_dir=str(tmp_path / "raw"), image_size_px=32, resize=resize)
    data.prepared_dir, data.on_error = str(tmp_path), "stop"

    folder = prepare(data)

    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/*.png")):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        digest.update(f"{path.parent.name}/{path.name} {pixels.shape}".encode() + pixels.tobytes())
    assert digest.hexdigest()[:16] == PIXELS[FORMAT_VERSION][resize], (
        "a prepared set has other pixels than this version of the format prepared: raise store.FORMAT_VERSION and add "
        f"its line to PIXELS, {resize}: {digest.hexdigest()[:16]}"
    )
