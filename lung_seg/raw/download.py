"""Fetching the official archives of the public sets.

An archive is fetched by pooch into ``data.raw_dir``, goes on where an interrupted download stopped, and is
held against its published SHA-256. Where none is published (Shenzhen), its size is held against what the
server says and the checksum of every file in it against what the archive says; its SHA-256 is written
beside it, so that a later download that differs is refused. An archive is unpacked into a temporary folder
first: a set whose radiographs are in place is complete.
"""

import logging
import stat
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path, PureWindowsPath

import pooch
import requests
from tqdm import tqdm

from lung_seg.config import AS_TRAINED
from lung_seg.errors import UserError
from lung_seg.files import locked, sha256, write_text
from lung_seg.raw.sources import jsrt, montgomery, nlm, shenzhen

log = logging.getLogger(__name__)

BASE_URL = "https://openi.nlm.nih.gov/imgs/collections"
TIMEOUT_S = 30
CHUNK_BYTES = 2**16
MAX_EXPANSION = 20  # radiographs and masks are PNGs, which no zip makes much smaller


@dataclass(frozen=True)
class Archive:
    """An official archive."""

    name: str
    folder: str  # what it unpacks to
    sha256: str | None  # as published
    page: str  # where a person finds the files


MONTGOMERY = Archive(
    "NLM-MontgomeryCXRSet.zip",
    "MontgomerySet",
    "54601e952315d8f67383e9202a6e145997ade429f54f7e0af44b4e158714f424",  # as torch-em checks it
    montgomery.PAGE,
)
SHENZHEN = Archive("ChinaSet_AllFiles.zip", "ChinaSet_AllFiles", None, shenzhen.PAGE)
ARCHIVES = {
    "montgomery": (MONTGOMERY,),
    "shenzhen": (SHENZHEN,),
    "montgomery_shenzhen": (MONTGOMERY, SHENZHEN),
}
NOTHING_TO_FETCH = {
    "jsrt": jsrt.LAYOUT.remedy,
    "phantom": "Phantoms are drawn: leave data.download=false.",
    AS_TRAINED: "Choose a set, e.g. data=montgomery.",
    "folder": "Put your files into data.raw_dir and leave data.download=false.",
}


def download(source: str, raw_dir: Path) -> None:
    """Fetch and unpack the archives of a source into ``raw_dir``; what is there already is left alone.

    Raises:
        UserError: the source has no public archive, or an archive could not be fetched, is not the
            published one, or would write outside ``raw_dir``.
    """
    if source not in ARCHIVES:
        raise UserError(f"data.download=true cannot fetch data.source={source}.\n{NOTHING_TO_FETCH[source]}")
    raw_dir.mkdir(parents=True, exist_ok=True)
    for archive in ARCHIVES[source]:
        with locked(raw_dir / archive.folder):
            folder = nlm.set_folder(raw_dir, archive.folder)
            if (folder / "CXR_png").is_dir():
                log.info("%s is there already: nothing to fetch.", folder)
            else:
                _unpack(_fetch(archive, raw_dir), archive, raw_dir)
    if SHENZHEN in ARCHIVES[source] and not (nlm.set_folder(raw_dir, SHENZHEN.folder) / "mask").is_dir():
        log.warning(shenzhen.MASKS_REMEDY)


def _fetch(archive: Archive, raw_dir: Path) -> Path:
    """The archive on disk, its SHA-256 checked where one is known."""
    url, record = f"{BASE_URL}/{archive.name}", _record(archive, raw_dir)
    expected = archive.sha256 or (record.read_text().split()[0] if record.is_file() else None)
    resume = partial(_resume, raw_dir / f"{archive.name}.part")
    pooch.get_logger().setLevel(logging.WARNING)  # its messages would bypass ours
    try:
        return Path(pooch.retrieve(url, expected, archive.name, raw_dir, downloader=resume))
    except OSError as error:  # those of requests are OSErrors, too
        raise UserError(
            f"{url} could not be fetched: {error}.\n"
            f"The same command goes on from there; or get it by hand from {archive.page} "
            f"and unpack it to {raw_dir / archive.folder}."
        ) from error
    except ValueError as error:
        raise UserError(
            f"{url} is not the archive expected: its SHA-256 is not {expected}"
            f"{'' if archive.sha256 else f' as in {record}'}.\n"
            f"Run the same command again; if that does not help, see {archive.page}"
        ) from error


def _resume(part: Path, url: str, output_file: str, _: object) -> None:
    """Download as pooch asks, by way of a partial file that outlives an interruption."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # else all of it is there
            response.raise_for_status()
            _save(response, part, done if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0)
    part.replace(output_file)


def _save(response: requests.Response, part: Path, done: int) -> None:
    """Write the body of a response behind the first ``done`` bytes of a file."""
    total = done + int(response.headers.get("Content-Length", 0)) or None
    with (
        part.open("ab" if done else "wb") as file,
        tqdm(desc=part.stem, total=total, initial=done, unit="B", unit_scale=True, disable=None) as bar,
    ):
        for chunk in response.iter_content(CHUNK_BYTES):
            bar.update(file.write(chunk))
    if total and part.stat().st_size != total:
        raise OSError(f"got {part.stat().st_size} of {total} bytes")


def _unpack(path: Path, archive: Archive, raw_dir: Path) -> None:
    """Unpack an archive whose names and size are harmless and whose files are intact."""
    try:
        with (
            tempfile.TemporaryDirectory(dir=raw_dir, prefix=f".{archive.folder}-") as staging,
            zipfile.ZipFile(path) as content,
        ):
            _refuse_hostile(content, path)
            for member in tqdm(content.infolist(), f"Unpacking {path.name}", unit=" files", disable=None):
                content.extract(member, staging)  # which checks the file's CRC
            _move_in(Path(staging) / archive.folder, raw_dir / archive.folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        path.unlink()
        raise UserError(f"{path} was corrupt and has been removed: {error}.\nRun the same command again.") from error
    except OSError as error:
        raise UserError(f"{path} could not be unpacked: {error}.\nUnpack it by hand to {raw_dir}.") from error
    write_text(_record(archive, raw_dir), f"{sha256(path)}  {path.name}\n")
    log.info("%s is unpacked; %s may be deleted.", raw_dir / archive.folder, path)


def _refuse_hostile(content: zipfile.ZipFile, path: Path) -> None:
    """Raise a UserError if an archive would write outside its folder or fill the disk."""
    for member in content.infolist():
        name = PureWindowsPath(member.filename)  # knows both slashes and drives
        if name.anchor or ".." in name.parts or stat.S_ISLNK(member.external_attr >> 16):
            raise UserError(
                f"{path} holds {member.filename}, which may lead out of its folder: nothing is unpacked.\n"
                "Delete the archive."
            )
    size = sum(member.file_size for member in content.infolist())
    if size > MAX_EXPANSION * path.stat().st_size:
        raise UserError(
            f"{path} unpacks to {size} bytes, over {MAX_EXPANSION} times its own size: nothing is unpacked.\n"
            "Delete the archive."
        )


def _move_in(unpacked: Path, folder: Path) -> None:
    """Move what is not there yet into the set's folder; the radiographs go last and mark it complete."""
    if not (unpacked / "CXR_png").is_dir():
        raise zipfile.BadZipFile(f"it holds no {unpacked.name}/CXR_png")
    folder.mkdir(exist_ok=True)
    for path in sorted(unpacked.iterdir(), key=lambda path: path.name == "CXR_png"):
        if not (folder / path.name).exists():
            path.rename(folder / path.name)


def _record(archive: Archive, raw_dir: Path) -> Path:
    """Where the SHA-256 of an archive is written down."""
    return raw_dir / f"{archive.name}.sha256"
