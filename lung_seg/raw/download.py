"""Download of the official archives of the public sets.

Where no SHA-256 is published (Shenzhen), the size is checked against the server's and each file against its checksum
in the archive; the SHA-256 is recorded next to the archive, and a later download that differs is refused. An archive is
unpacked into a temporary folder first: a set whose radiographs are in place is complete.
"""

import logging
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from lung_seg.config import AS_TRAINED
from lung_seg.errors import UserError
from lung_seg.files import locked, sha256, write_text
from lung_seg.raw.sources import jsrt, nlm

log = logging.getLogger(__name__)

BASE_URL = "https://openi.nlm.nih.gov/imgs/collections"
TIMEOUT_S = 30
CHUNK_BYTES = 2**16
MAX_FILES = 10_000  # the larger set, Shenzhen, has 662 radiographs with a mask and a reading each
MAX_EXPANSION = 20  # radiographs and masks are PNG files, which zip hardly compresses


@dataclass(frozen=True)
class Archive:
    """An official archive and the folder it unpacks to."""

    name: str
    folder: str
    sha256: str | None  # as published
    page: str  # web page for a download by hand


MONTGOMERY_SHA256 = "54601e952315d8f67383e9202a6e145997ade429f54f7e0af44b4e158714f424"  # as torch-em checks it
MONTGOMERY = Archive("NLM-MontgomeryCXRSet.zip", "MontgomerySet", MONTGOMERY_SHA256, nlm.MONTGOMERY_PAGE)
SHENZHEN = Archive("ChinaSet_AllFiles.zip", "ChinaSet_AllFiles", None, nlm.SHENZHEN_PAGE)
ARCHIVES = {"montgomery": (MONTGOMERY,), "shenzhen": (SHENZHEN,), "montgomery_shenzhen": (MONTGOMERY, SHENZHEN)}
NO_DOWNLOAD = {
    "jsrt": jsrt.LAYOUT.remedy,
    "phantom": "Phantoms are drawn: leave data.download=false.",
    AS_TRAINED: "Choose a set, e.g. data=montgomery.",
    "folder": "Put your files into data.raw_dir and leave data.download=false.",
}


def download(source: str, raw_dir: Path) -> None:
    """Download and unpack the archives of a source into ``raw_dir``; existing files are kept.

    Raises:
        UserError: there is no public archive, or it cannot be downloaded, differs, is corrupt or expands too far.
    """
    if source not in ARCHIVES:
        raise UserError(f"data.download=true cannot download data.source={source}.\n{NO_DOWNLOAD[source]}")
    raw_dir.mkdir(parents=True, exist_ok=True)
    for archive in ARCHIVES[source]:
        with locked(raw_dir / archive.folder):
            folder = nlm.set_folder(raw_dir, archive.folder)
            if (folder / "CXR_png").is_dir():
                log.info("%s exists already: nothing to download.", folder)
            else:
                record = raw_dir / f"{archive.name}.sha256"
                path = _download(archive, raw_dir, record)
                _unpack(path, archive, raw_dir)
                write_text(record, f"{sha256(path)}  {path.name}\n")
                log.info("%s is unpacked; %s may be deleted.", raw_dir / archive.folder, path)
    if SHENZHEN in ARCHIVES[source] and not (nlm.set_folder(raw_dir, SHENZHEN.folder) / "mask").is_dir():
        log.warning(nlm.SHENZHEN_MASKS_REMEDY)


def _download(archive: Archive, raw_dir: Path, record: Path) -> Path:
    """Path of the archive, checked against its published or recorded SHA-256."""
    url = f"{BASE_URL}/{archive.name}"
    expected = archive.sha256 or _recorded(record)
    resume = partial(_resume, raw_dir / f"{archive.name}.part")
    pooch.get_logger().setLevel(logging.WARNING)  # its messages would bypass ours
    try:
        return Path(pooch.retrieve(url, expected, archive.name, raw_dir, downloader=resume))
    except OSError as error:  # errors of requests are OSErrors, too
        by_hand = f"download it from {archive.page} and unpack it to {raw_dir / archive.folder}"
        remedy = f"Run the same command again to resume; or {by_hand}."
        raise UserError(f"{url} cannot be downloaded: {error}.\n{remedy}") from error
    except ValueError as error:
        recorded = "" if archive.sha256 else f" as recorded in {record}"
        raise UserError(
            f"{url} is not the expected archive: its SHA-256 is not {expected}{recorded}.\n"
            f"Run the same command again; if that does not help, see {archive.page}"
        ) from error


def _recorded(record: Path) -> str | None:
    """The SHA-256 that an earlier download recorded; None if there is no record or it is empty."""
    words = record.read_text(encoding="utf-8", errors="replace").split() if record.is_file() else []
    return words[0] if words else None


def _resume(part: Path, url: str, output_file: str, _: object) -> None:
    """Downloader for pooch that keeps a partial file after an interruption."""
    if part.is_symlink():  # of somebody who may write here; its target is not ours to overwrite
        part.unlink()
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # else the partial file is complete
            response.raise_for_status()
            if (
                response.headers.get("Content-Encoding", "identity") != "identity"
            ):  # not asked for; may grow a thousandfold
                raise OSError("the server compressed it")
            _save(response, part, done if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0)
    part.replace(output_file)


def _save(response: requests.Response, part: Path, done: int) -> None:
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
    """Unpack an archive; zipfile keeps every name inside the temporary folder and creates no links."""
    try:
        with (
            tempfile.TemporaryDirectory(dir=raw_dir, prefix=f".{archive.folder}-") as staging,
            zipfile.ZipFile(path) as content,
        ):
            size_bytes = sum(member.file_size for member in content.infolist())
            if size_bytes > MAX_EXPANSION * path.stat().st_size:
                reason = f"unpacks to {size_bytes} bytes, over {MAX_EXPANSION} times its own size: nothing is unpacked"
                raise UserError(f"{path} {reason}.\nDelete the archive.")
            if len(content.infolist()) > MAX_FILES:
                raise UserError(f"{path} holds over {MAX_FILES} files: nothing is unpacked.\nDelete the archive.")
            for member in tqdm(content.infolist(), f"Unpacking {path.name}", unit=" files", disable=None):
                content.extract(member, staging)  # checks the CRC
            _move(Path(staging) / archive.folder, raw_dir / archive.folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        path.unlink()
        raise UserError(f"{path} was corrupt and has been removed: {error}.\nRun the same command again.") from error
    except (OSError, RuntimeError) as error:  # encrypted, or of an unknown method (NotImplementedError)
        raise UserError(f"{path} cannot be unpacked: {error}.\nUnpack it by hand to {raw_dir}.") from error


def _move(unpacked: Path, folder: Path) -> None:
    """Move what is missing into the set's folder; the radiographs go last and mark it complete."""
    if not (unpacked / "CXR_png").is_dir():
        raise zipfile.BadZipFile(f"it holds no {unpacked.name}/CXR_png")
    folder.mkdir(exist_ok=True)
    for path in sorted(unpacked.iterdir(), key=lambda path: path.name == "CXR_png"):
        if not (folder / path.name).exists():
            path.rename(folder / path.name)
