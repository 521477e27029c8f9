"""Who may use the page and what reaches it: the points of SECURITY.md, one test each."""

import gzip
import io
import pickle
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from lung_seg.page import access
from tests.conftest import Run
from tests.layouts import draw_chest, write_dicom
from tests.page.conftest import ADDRESS, NETWORK, OpenPage, Page, serving
from tests.raw import failing_decoders

ELSEWHERE = "https://attacker.example"


@pytest.fixture
def stranger(page: Page) -> TestClient:
    """A client that has not loaded the page."""
    assert isinstance(page.client, TestClient)
    return page.client


def test_a_foreign_host_is_refused_since_a_name_may_be_rebound_to_this_machine(stranger: TestClient) -> None:
    for host in ("attacker.example", "attacker.example:8765", "127.0.0.1.nip.io", "10.0.0.7:8765", "[", ""):
        answer = stranger.get("/api/films", headers={"Host": host})
        assert answer.status_code == 421
        assert answer.json()["error"].startswith(f"Host {host!r} is not this server.")


def test_the_names_of_this_machine_are_answered(stranger: TestClient) -> None:
    for host in ("localhost:9000", "127.0.0.1", "[::1]:8765", "LOCALHOST"):
        assert stranger.get("/health", headers={"Host": host}).status_code == 200


def test_a_foreign_origin_is_refused(page: Page) -> None:
    files = [("file", ("a.png", Path("films/a.png").read_bytes()))]
    for path in ("/predict", "/api/films"):
        for origin in (ELSEWHERE, "null", "http://127.0.0.1:80", "http://localhost:8765.attacker.example", "http://["):
            answer = page.client.post(path, files=files, headers=page.headers | {"Origin": origin})
            assert answer.status_code == 403
            assert not {name for name in answer.headers if name.startswith("access-control")}
        assert page.client.post(path, files=files, headers=page.headers | {"Origin": ADDRESS}).status_code == 200


def test_other_sites_may_link_to_the_page_but_embed_nothing_of_it(stranger: TestClient) -> None:
    cross_site = {"Sec-Fetch-Site": "cross-site"}
    assert stranger.get("/", headers=cross_site).status_code == 200
    assert stranger.get("/api/films", headers=cross_site).status_code == 403
    preflight = {"Origin": ELSEWHERE, "Access-Control-Request-Method": "PUT"}
    assert stranger.options("/api/films", headers=preflight).status_code == 403


def test_every_answer_forbids_content_of_other_hosts(stranger: TestClient) -> None:
    for path in ("/", "/static/index.html", "/api/films", "/nowhere", "/docs"):
        headers = stranger.get(path).headers
        policy = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_a_change_needs_the_session_of_a_page_that_was_loaded(page: Page) -> None:
    film = page.film("a.png")
    path = f"/api/films/{film['id']}"
    for session in ({}, {"X-Session": "guessed"}):
        requests = [
            page.client.put(f"{path}/mask", content=b"", headers=session | {"If-Match": "0"}),
            page.client.delete(f"{path}/mask", headers=session),
            page.client.post(f"{path}/looked", headers=session),
            page.client.post("/api/films", files=[("file", ("a.png", b""))], headers=session),
            page.client.post("/api/export", json={}, headers=session),
            page.client.post("/api/learning", json={}, headers=session),
            page.client.post("/api/learning/use", headers=session),
        ]
        assert {answer.status_code for answer in requests} == {401}
    assert page.film("a.png") == film


@pytest.fixture
def guarded(films: Path) -> Iterator[TestClient]:
    """A server on another address than this machine's own."""
    with serving(token="secret", host="0.0.0.0") as client:
        yield client


def test_on_another_address_nothing_is_answered_without_the_token(guarded: TestClient) -> None:
    for path in ("/", "/static/index.html", "/api/films", "/health", "/openapi.json"):
        assert guarded.get(path).status_code == 401
        assert guarded.get(path, headers={"Authorization": "Bearer secret2"}).status_code == 401
        assert guarded.get(path, headers={"Cookie": "lung_seg_token=secre"}).status_code == 401
    assert guarded.post("/predict", files=[("file", ("a.png", b""))]).status_code == 401
    assert guarded.get("/health", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert guarded.get("/health", headers={"Authorization": "Bearer secret", "Host": "192.0.2.7"}).status_code == 200
    foreign = guarded.get("/health", headers={"Authorization": "Bearer secret", "Host": "attacker.example"})
    assert foreign.status_code == 421


def test_the_token_leaves_the_address_and_stays_in_a_cookie(guarded: TestClient) -> None:
    answer = guarded.get("/?token=secret", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert guarded.get("/api/films").status_code == 200


def test_the_command_prints_a_token_for_another_address_only(
    films: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)
    options = ("output=out", f"checkpoint={NETWORK}", "port=0", "browser=false")
    own = run("serve", *options)
    assert own.code == 0
    assert "?token=" not in own.out
    assert "The page is at http://127.0.0.1:" in own.out
    tokens = {run("serve", *options, "host=0.0.0.0").out.partition("?token=")[2].split()[0] for _ in range(2)}
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 32
    assert "Nothing leaves this machine." in own.out


def test_an_id_is_never_a_path(stranger: TestClient) -> None:
    for film_id in ("..", "%2e%2e%2f%2e%2e", "films%2fa.png", "/etc/passwd", "a.png", "0" * 16, "%00"):
        for part in ("", "/pixels", "/mask", "/thumbnail", "/evidence"):
            assert stranger.get(f"/api/films/{film_id}{part}").status_code == 404


def test_static_files_are_those_of_the_page_only(stranger: TestClient) -> None:
    for path in ("../app.py", "%2e%2e/app.py", "/etc/passwd", "..%5capp.py"):
        assert stranger.get(f"/static/{path}").status_code == 404


HOSTILE = {
    "../../escaped.png": "escaped.png",
    "/etc/cron.d/job.png": "job.png",
    "..\\..\\windows.png": "windows.png",
    "C:\\autoexec.png": "autoexec.png",
    ".hidden.png": "hidden.png",
    "nul.png": "_nul.png",
    "a\x00b\nc.png": "a_00b_0Ac.png",
    "<img src=x onerror=alert(1)>.png": "_img src=x onerror=alert(1)_.png",
    "é" * 300 + ".png": "é" * 97 + ".png",
    "..": "film",
}


def test_a_hostile_name_stays_inside_the_folder_of_dropped_films(page: Page) -> None:
    content = Path("films/a.png").read_bytes()
    before = {path for path in Path.cwd().rglob("*") if "out" not in path.parts}
    files = [("file", (name, content)) for name in HOSTILE]
    added = page.client.post("/api/films", files=files, headers=page.headers).json()["films"]
    assert [film["name"] for film in added] == list(HOSTILE.values())
    page.films()
    assert {path for path in Path.cwd().rglob("*") if "out" not in path.parts} == before
    assert {path.name for path in Path("out/films").glob("*/*")} == set(HOSTILE.values())


def test_a_request_that_is_too_large_is_refused_with_and_without_a_stated_length(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MAX_REQUEST_MB", 0.05)
    film = page.film("a.png")
    path = f"/api/films/{film['id']}/mask"
    stated = page.client.put(path, content=bytes(60_000), headers=page.headers | {"If-Match": "0"})
    chunks = (bytes(10_000) for _ in range(6))
    unstated = page.client.put(path, content=chunks, headers=page.headers | {"If-Match": "0"})
    dropped = page.drop("large.png", bytes(60_000))
    for answer in (stated, unstated, dropped):
        assert answer.status_code == 413
        assert "Send fewer files at once." in answer.json()["error"]
    assert not Path("out/films").exists()


def test_too_many_files_at_once_are_refused(page: Page) -> None:
    files = [("file", (f"{number}.png", b"x")) for number in range(201)]
    for path in ("/api/films", "/predict"):
        answer = page.client.post(path, files=files, headers=page.headers)
        assert answer.status_code == 422
        assert "at most 200 items" in answer.json()["error"]
    assert not Path("out/films").exists()


def png_bomb(width_px: int, height_px: int) -> bytes:
    """A PNG of a few kB that claims to hold billions of pixels, all of them black."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused_before_it_is_decoded(page: Page) -> None:
    page.drop("bomb.png", png_bomb(60_000, 60_000))
    assert "it has 3600 megapixels, over max_megapixels=80" in page.film("bomb.png")["error"]
    page.drop("large.png", png_bomb(9_000, 9_100))
    assert "it has 82 megapixels, over max_megapixels=80" in page.film("large.png")["error"]
    answer = page.client.post("/predict", files=[("file", ("bomb.png", png_bomb(60_000, 60_000)))])
    assert "over max_megapixels=80" in answer.json()["results"][0]["error"]


def test_a_film_that_crashes_its_decoder_ends_no_server(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lung_seg.prediction.batch.open_radiograph", failing_decoders.crash)
    monkeypatch.setattr("lung_seg.page.network.open_radiograph", failing_decoders.crash)
    page = open_page()
    assert "its decoder crashes (SIGSEGV)" in page.film("b.png")["error"]
    assert [film["error"] for film in page.films() if film["name"] in ("a.png", "c.png")] == [None, None]
    answer = page.client.post("/predict", files=[("file", ("b.png", Path("films/b.png").read_bytes()))])
    assert answer.json()["results"][0]["error"].startswith("b.png cannot be read: its decoder crashes (SIGSEGV).")


def test_a_mask_unpacks_to_no_more_than_its_film_needs(page: Page) -> None:
    film = page.film("a.png")
    headers = page.headers | {"If-Match": '"0"', "Content-Encoding": "gzip"}
    path = f"/api/films/{film['id']}/mask"
    bomb = page.client.put(path, content=gzip.compress(bytes(50_000_000)), headers=headers)
    assert bomb.status_code == 400
    assert bomb.json()["error"].startswith("The mask has more than 7680 bytes; a radiograph of 80 x 96 px needs 7680.")
    short = page.client.put(path, content=gzip.compress(bytes(5)), headers=headers)
    assert short.json()["error"].startswith("The mask has 5 bytes; ")
    broken = page.client.put(path, content=b"no gzip", headers=headers)
    assert "no gzip stream" in broken.json()["error"]
    other = page.client.put(path, content=gzip.compress(bytes([3]) * 7680), headers=headers)
    assert "holds the value 3" in other.json()["error"]
    assert page.film("a.png")["state"] != "corrected"


class Exploit:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("executed"),)


def test_nothing_that_is_uploaded_is_unpickled(page: Page) -> None:
    array = io.BytesIO()
    np.save(array, np.array([Exploit()], dtype=object), allow_pickle=True)
    for name in ("film.png", "film.npy", "film.ckpt", "film.dcm"):
        for content in (pickle.dumps(Exploit()), array.getvalue()):
            page.drop(name, content)
    assert {film["state"] for film in page.films() if film["name"].startswith("film.")} == {"refused"}
    assert not Path("executed").exists()


def test_nothing_leaves_this_machine(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, where: called.append(where))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **__: called.append(where))
    page = open_page()
    page.client.post("/predict", files=[("file", ("a.png", Path("films/a.png").read_bytes()))])
    film = page.film("a.png")
    labels, etag = page.mask(film)
    page.save(film, labels, etag)
    page.post("/api/export", dicom_seg=False)
    assert called == []


def test_the_patient_is_shown_on_request_only_and_never_written(films: Path, open_page: OpenPage) -> None:
    person = {"PatientName": "Miller^Josephine", "PatientID": "MRN-77-1234", "PatientBirthDate": "19501231"}
    write_dicom(films / "d.dcm", draw_chest(500, 96, 80)[0], **person)
    page = open_page()
    film = page.film("d.dcm")
    path = f"/api/films/{film['id']}"
    assert page.client.get(path).json()["header"] is None
    assert "Miller" not in page.client.get(path).text + page.client.get("/api/films").text
    assert person.items() <= page.client.get(path, params={"header": True}).json()["header"].items()
    labels, etag = page.mask(film)
    page.save(film, labels, etag)
    page.post("/api/export", dicom_seg=False)
    written = [file.read_bytes() for file in Path("out").rglob("*") if file.is_file()]
    assert len(written) > 5
    for content in written:
        assert not any(value.encode() in content for value in person.values())
        assert b"Josephine" not in content
