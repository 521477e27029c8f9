"""Files of any content are read or refused by name."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as any_of
from numpy.typing import NDArray

from lung_seg.errors import UserError
from lung_seg.raw.masks import read_mask
from lung_seg.raw.radiograph import read_radiograph

TRIES = 1000 * int(os.environ.get("LUNG_SEG_FUZZ", "1"))
BEGINNINGS = {  # signatures by which readers recognise their format
    "PNG": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "TIFF": b"II*\x00\x08\x00\x00\x00",
    "GIF": b"GIF89a",
    "BMP": b"BM",
    "WebP": b"RIFF\x24\x00\x00\x00WEBPVP8 ",
    "DICOM": bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00",
    "DICOM without preamble": b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(200),
    "nothing": b"",
}


def why_refused(read: Callable[[Path], NDArray[Any]], path: Path) -> str | None:
    try:
        assert read(path).ndim == 2
    except UserError as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore")  # readers warn of what they then refuse
@examples(max_examples=TRIES, derandomize=True, database=None, deadline=None)
@given(
    beginning=any_of.sampled_from(sorted(BEGINNINGS)),
    rest=any_of.binary(max_size=600),
    suffix=any_of.sampled_from([".png", ".jpg", ".tif", ".dcm", ".img", ""]),
)
def test_any_bytes_are_read_or_refused_by_name(beginning: str, rest: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film{suffix}"
        path.write_bytes(BEGINNINGS[beginning] + rest)
        for read in (read_radiograph, read_mask):
            reason = why_refused(read, path)
            assert reason is None or (str(path) in reason and len(reason.splitlines()) <= 2)
