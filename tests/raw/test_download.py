import gzip
import logging
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lung_seg.config import DataConfig
from lung_seg.errors import UserError
from lung_seg.files import sha256
from lung_seg.raw import download as module
from lung_seg.raw.download import MONTGOMERY, SHENZHEN, download
from lung_seg.raw.sources import find_cases
from tests import layouts


@dataclass
class Server:
    """A local server: its archives, the requests it got, and how it fails."""

    folder: Path
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # file name and Range header
    stop_after: int | None = None  # bytes of a response after which the connection breaks
    ranges: bool = True
    compress: bool = False


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[Server]:
    server = Server(tmp_path / "served")
    server.folder.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            server.requests.append((self.path[1:], asked))
            path = server.folder / self.path[1:]
            if not path.is_file():
                self.send_error(404)
                return
            body = path.read_bytes()
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            sent = gzip.compress(bytes(10**7)) if server.compress else body[start:]
            if server.compress:
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent[: server.stop_after])

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(module, "BASE_URL", f"http://127.0.0.1:{http.server_port}")
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def raw_dir(tmp_path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def archive(server, tmp_path, monkeypatch) -> Path:
    """The Montgomery archive as served, its SHA-256 published; 300 kB do not compress."""
    layouts.write_montgomery(tmp_path / "source", cases=2)
    noise = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "source" / "MontgomerySet" / "ReadMe.pdf").write_bytes(noise)
    path = zip_folder(tmp_path / "source", server.folder / MONTGOMERY.name)
    publish(monkeypatch, sha256(path))
    return path


def zip_folder(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as content:
        for path in sorted(folder.rglob("*")):
            content.write(path, path.relative_to(folder))
    return archive


def publish(monkeypatch, checksum: str | None) -> None:
    monkeypatch.setitem(module.ARCHIVES, "montgomery", (replace(MONTGOMERY, sha256=checksum),))


def montgomery_cases(raw_dir: Path) -> int:
    return len(find_cases(DataConfig(name="x", source="montgomery", raw_dir=str(raw_dir))).cases)


def files(folder: Path) -> list[str]:
    """Files at any depth, without locks."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if path.suffix != ".lock")


def test_an_archive_is_fetched_checked_and_unpacked(server, archive, raw_dir, capfd):
    download("montgomery", raw_dir)
    assert "Unpacking" not in capfd.readouterr().err  # progress bars are for terminals

    assert montgomery_cases(raw_dir) == 2
    assert [name for name in files(raw_dir) if not name.startswith("MontgomerySet")] == [
        archive.name,
        f"{archive.name}.sha256",
    ]
    assert (raw_dir / f"{archive.name}.sha256").read_text() == f"{sha256(archive)}  {archive.name}\n"


def test_a_second_run_does_nothing(server, archive, raw_dir):
    download("montgomery", raw_dir)
    (raw_dir / archive.name).unlink()

    download("montgomery", raw_dir)

    assert server.requests == [(archive.name, None)]
    assert not (raw_dir / archive.name).exists()


def test_an_interrupted_download_asks_for_the_rest_only(server, archive, raw_dir):
    server.stop_after = 200_000
    with pytest.raises(UserError, match=r"cannot be downloaded(.|\n)*Run the same command again to resume"):
        download("montgomery", raw_dir)
    done = (raw_dir / f"{archive.name}.part").stat().st_size
    server.stop_after = None

    download("montgomery", raw_dir)

    assert 100_000 < done <= 200_000
    assert server.requests == [(archive.name, None), (archive.name, f"bytes={done}-")]
    assert montgomery_cases(raw_dir) == 2


def test_a_server_without_ranges_sends_it_all_again(server, archive, raw_dir):
    server.ranges = False
    raw_dir.mkdir()
    (raw_dir / f"{archive.name}.part").write_bytes(archive.read_bytes()[:1000])

    download("montgomery", raw_dir)

    assert sha256(raw_dir / archive.name) == sha256(archive)


def test_a_complete_partial_file_is_used(server, archive, raw_dir):
    raw_dir.mkdir()
    (raw_dir / f"{archive.name}.part").write_bytes(archive.read_bytes())

    download("montgomery", raw_dir)

    assert montgomery_cases(raw_dir) == 2


def test_an_archive_other_than_the_published_one_is_refused(server, archive, raw_dir, monkeypatch):
    publish(monkeypatch, "0" * 64)

    with pytest.raises(UserError, match="is not the expected archive"):
        download("montgomery", raw_dir)

    assert files(raw_dir) == [], "nothing of it stays"


def test_without_a_published_checksum_a_later_change_is_noticed(server, archive, raw_dir, monkeypatch):
    publish(monkeypatch, None)
    download("montgomery", raw_dir)
    (raw_dir / archive.name).unlink()
    (raw_dir / "MontgomerySet").rename(raw_dir / "old")
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("MontgomerySet/new.txt", "new")

    with pytest.raises(UserError, match="is not the expected archive"):
        download("montgomery", raw_dir)


def test_a_corrupt_file_inside_is_refused_and_never_taken_for_complete(server, archive, raw_dir, monkeypatch):
    publish(monkeypatch, None)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 0xFF
    archive.write_bytes(content)

    with pytest.raises(UserError, match="was corrupt and has been removed"):
        download("montgomery", raw_dir)

    assert files(raw_dir) == []


@pytest.mark.parametrize("name", ["../evil", "{outside}/evil", "MontgomerySet/../../evil", "..\\evil", "C:\\evil"])
def test_a_hostile_name_cannot_write_outside_the_folder(server, archive, raw_dir, monkeypatch, name):
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(name.format(outside=raw_dir.parent), "evil")
    publish(monkeypatch, None)
    before = files(raw_dir.parent)

    download("montgomery", raw_dir)

    assert [name for name in files(raw_dir.parent) if not name.startswith("raw/")] == before
    assert montgomery_cases(raw_dir) == 2


def test_no_symbolic_link_is_created_or_followed(server, archive, raw_dir, monkeypatch, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    link = zipfile.ZipInfo("MontgomerySet/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr(link, str(outside))
    publish(monkeypatch, None)

    download("montgomery", raw_dir)

    assert not (raw_dir / "MontgomerySet" / "link").is_symlink()
    assert (raw_dir / "MontgomerySet" / "link").read_text() == str(outside)
    (raw_dir / "MontgomerySet").rename(tmp_path / "old")
    (raw_dir / archive.name).unlink()
    (raw_dir / f"{archive.name}.sha256").unlink()
    with zipfile.ZipFile(archive, "a") as content:
        content.writestr("MontgomerySet/link/evil", "evil")

    with pytest.raises(UserError, match="cannot be unpacked"):
        download("montgomery", raw_dir)

    assert files(outside) == []


def test_a_zip_bomb_is_refused(server, raw_dir, monkeypatch):
    with zipfile.ZipFile(server.folder / MONTGOMERY.name, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("MontgomerySet/CXR_png/MCUCXR_0001_0.png", bytes(1_000_000))
    publish(monkeypatch, None)

    with pytest.raises(UserError, match="1000000 bytes, over 20 times"):
        download("montgomery", raw_dir)


def test_an_archive_of_something_else_is_refused(server, raw_dir, monkeypatch):
    with zipfile.ZipFile(server.folder / MONTGOMERY.name, "w") as content:
        content.writestr("index.html", "moved")
    publish(monkeypatch, None)

    with pytest.raises(UserError, match="holds no MontgomerySet/CXR_png"):
        download("montgomery", raw_dir)


def test_what_is_in_the_folder_already_stays(server, archive, raw_dir):
    note = raw_dir / "MontgomerySet" / "ClinicalReadings" / "note.txt"
    note.parent.mkdir(parents=True)
    note.write_text("mine")

    download("montgomery", raw_dir)

    assert note.read_text() == "mine"
    assert montgomery_cases(raw_dir) == 2


def test_a_missing_address_is_reported_with_a_remedy(server, raw_dir):
    with pytest.raises(UserError, match=r"ChinaSet_AllFiles\.zip cannot be downloaded: 404(.|\n)*unpack it to"):
        download("shenzhen", raw_dir)


def test_shenzhen_says_where_its_masks_are(server, raw_dir, tmp_path, caplog):
    layouts.write_shenzhen(tmp_path / "source", cases=2, without_mask=2)
    zip_folder(tmp_path / "source", server.folder / SHENZHEN.name)

    with caplog.at_level(logging.WARNING):
        download("shenzhen", raw_dir)

    assert "kaggle.com/datasets/yoctoman/shcxr-lung-mask" in caplog.text


def test_both_sets_are_fetched(server, archive, raw_dir, tmp_path, monkeypatch):
    layouts.write_shenzhen(tmp_path / "other", cases=2)
    zip_folder(tmp_path / "other", server.folder / SHENZHEN.name)
    both = (replace(MONTGOMERY, sha256=None), SHENZHEN)
    monkeypatch.setitem(module.ARCHIVES, "montgomery_shenzhen", both)

    download("montgomery_shenzhen", raw_dir)

    assert [name for name, _ in server.requests] == [MONTGOMERY.name, SHENZHEN.name]


@pytest.mark.parametrize(
    ("source", "remedy"), [("jsrt", "db.jsrt.or.jp"), ("phantom", "drawn"), ("folder", "your files")]
)
def test_sources_without_a_public_archive_say_where_to_get_them(raw_dir, source, remedy):
    with pytest.raises(UserError, match=remedy):
        download(source, raw_dir)


@pytest.mark.parametrize("bits", [b"\1\0\0\0", b"\0\0\x2a\0"], ids=["encrypted", "of an unknown method"])
def test_an_archive_that_cannot_be_unpacked_is_refused(server, archive, raw_dir, monkeypatch, bits):
    entry = b"PK\1\2\x14\3\x14\0"
    content = archive.read_bytes().replace(entry + b"\0\0\0\0", entry + bits)
    assert content != archive.read_bytes()
    archive.write_bytes(content)
    publish(monkeypatch, None)
    with pytest.raises(UserError, match="cannot be unpacked"):
        download("montgomery", raw_dir)


def test_an_empty_record_of_a_checksum_is_none(server, archive, raw_dir, monkeypatch):
    publish(monkeypatch, None)
    raw_dir.mkdir()
    (raw_dir / f"{MONTGOMERY.name}.sha256").touch()
    download("montgomery", raw_dir)
    assert montgomery_cases(raw_dir)


def test_a_partial_file_that_is_a_link_is_not_written_through(server, archive, raw_dir, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    raw_dir.mkdir()
    (raw_dir / f"{MONTGOMERY.name}.part").symlink_to(victim)
    download("montgomery", raw_dir)
    assert victim.read_text() == "mine"


def test_an_answer_that_the_server_compressed_is_not_inflated(server, archive, raw_dir):
    server.compress = True
    with pytest.raises(UserError, match=r"cannot be downloaded: the server compressed it"):
        download("montgomery", raw_dir)
    assert sum(path.stat().st_size for path in raw_dir.iterdir()) == 0


def test_too_many_files_are_not_unpacked(server, archive, raw_dir, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 3)
    with pytest.raises(UserError, match="over 3 files: nothing is unpacked"):
        download("montgomery", raw_dir)
