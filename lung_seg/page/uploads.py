"""Uploaded files on disk: a name of theirs is never a path, and their number and size are bounded."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Annotated

from fastapi import UploadFile
from pydantic import Field

from lung_seg.files import atomic_path
from lung_seg.prediction.inputs import printable

MAX_FILES = 200  # of a request
MAX_NAME = 100
Uploads = Annotated[list[UploadFile], Field(max_length=MAX_FILES)]
UNSAFE = re.compile(r"[^\w .()+=@,-]")
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # of Windows


def safe_name(name: str | None) -> str:
    """The last part of a name as a file name: no folder, no hidden file, no device.

    >>> safe_name("../../etc/passwd"), safe_name("C:\\\\films\\\\a.png"), safe_name("..")
    ('passwd', 'a.png', 'film')
    """
    last = PurePosixPath((name or "").replace("\\", "/")).name
    clean = UNSAFE.sub("_", printable(last)).strip(" .")
    if RESERVED.match(clean):
        clean = f"_{clean}"
    stem, dot, suffix = clean.rpartition(".")
    if dot and len(suffix) <= 10:
        return f"{stem[: MAX_NAME - len(suffix)]}.{suffix}"
    return clean[:MAX_NAME] or "film"


def store(file: IO[bytes], name: str | None, folder: Path) -> Path:
    """Keep an uploaded file below a folder; the same content under the same name is kept once."""
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(0)
    path = folder / digest.hexdigest()[:16] / safe_name(name)
    if not path.is_file():
        with atomic_path(path) as temporary, temporary.open("wb") as copy:
            shutil.copyfileobj(file, copy)
    return path


@contextmanager
def temporary_file(file: IO[bytes], name: str | None) -> Iterator[Path]:
    """An uploaded file on disk until the block ends."""
    with tempfile.TemporaryDirectory(prefix="lung_seg-") as folder:
        path = Path(folder) / safe_name(name)
        with path.open("wb") as copy:
            shutil.copyfileobj(file, copy)
        yield path
