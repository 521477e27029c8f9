"""The review queue and the corrections: what a person sees, saves and finds again."""

import csv
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lung_seg.page.network import Network
from lung_seg.raw.radiograph import Radiograph
from tests.conftest import Run
from tests.layouts import draw_chest, write_deep_png, write_dicom, write_image
from tests.page.conftest import NETWORK, OpenPage, Page, free_port, server


def table(path: Path | str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def drawn(labels: np.ndarray, seed: int) -> np.ndarray:
    """A mask after some strokes: nothing that smoothing or resizing would keep."""
    rng = np.random.default_rng(seed)
    changed = labels.copy()
    changed[rng.random(labels.shape) < 0.1] = rng.integers(0, 3)
    return changed


def test_a_corrupt_film_is_refused_by_name_and_the_others_are_shown_least_trustworthy_first(page: Page) -> None:
    *good, corrupt = page.films()
    assert (corrupt["name"], corrupt["state"]) == ("corrupt.png", "refused")
    assert corrupt["error"].startswith("films/corrupt.png cannot be read as an image: ")
    assert sorted(film["name"] for film in good) == ["a.png", "b.png", "c.png"]
    assert {film["state"] for film in good} <= {"new", "warned"}
    qualities = [film["quality"] for film in good]
    assert qualities == sorted(qualities)
    answer = page.client.get(f"/api/films/{corrupt['id']}/mask")
    assert (answer.status_code, answer.json()["error"]) == (409, corrupt["error"])


def test_a_saved_mask_comes_back_bit_for_bit_and_lies_on_disk(page: Page, open_page: OpenPage) -> None:
    film = page.film("a.png")
    labels, etag = page.mask(film)
    strokes = drawn(labels, seed=1)
    saved = page.save(film, strokes, etag, seconds=12.5).json()
    assert saved["state"] == "corrected"
    both = 2 * np.count_nonzero((labels > 0) & (strokes > 0)) / (np.count_nonzero(labels) + np.count_nonzero(strokes))
    assert saved["dice_before_after"] == pytest.approx(both, abs=1e-4)

    assert (page.mask(film)[0] == strokes).all()
    assert (page.mask(film, of="network")[0] == labels).all()
    (mask,) = Path("out/corrections/masks").iterdir()
    assert (np.asarray(Image.open(mask)) == strokes).all()  # the palette's indices are the labels
    image = np.asarray(Image.open(f"out/corrections/images/{mask.name}"))
    assert (image == np.asarray(Image.open("films/a.png"))).all()
    (row,) = table("out/corrections/corrections.csv")
    assert (row["file"], row["seconds"], row["case"]) == ("films/a.png", "12.5", mask.stem)
    assert float(row["dice_before_after"]) == saved["dice_before_after"]

    again = open_page()  # the server is started again
    assert again.film("a.png")["state"] == "corrected"
    assert (again.mask(again.film("a.png"))[0] == strokes).all()


def test_a_second_tab_is_refused_and_overwrites_nothing(page: Page) -> None:
    film = page.film("a.png")
    labels, etag = page.mask(film)
    first = page.save(film, drawn(labels, seed=1), etag)
    second = page.save(film, drawn(labels, seed=2), etag)
    assert (first.status_code, second.status_code) == (200, 409)
    assert second.json()["revision"] == first.json()["revision"]
    assert "another tab" in second.json()["error"]
    now, etag = page.mask(film)
    assert (now == drawn(labels, seed=1)).all()
    assert page.save(film, drawn(labels, seed=2), etag).status_code == 200  # once it has been loaded again


def test_a_removed_correction_is_moved_aside_and_a_tab_of_before_cannot_bring_it_back(
    page: Page, open_page: OpenPage
) -> None:
    film = page.film("a.png")
    labels, etag = page.mask(film)
    strokes = drawn(labels, seed=1)
    saved = page.save(film, strokes, etag).json()
    reset = page.client.delete(f"/api/films/{film['id']}/mask", headers=page.headers).json()
    assert reset["state"] in ("new", "warned")
    assert (page.mask(film)[0] == labels).all()
    (removed,) = Path("out/corrections/removed").iterdir()
    assert (np.asarray(Image.open(removed)) == strokes).all()
    assert table("out/corrections/corrections.csv") == []
    assert not list(Path("out/corrections/images").iterdir())
    assert page.save(film, strokes, f'"{saved["revision"]}"').status_code == 409
    assert open_page().save(film, strokes, f'"{saved["revision"]}"').status_code in (401, 409)


def test_what_predict_left_is_shown_without_predicting_it_again(films: Path, open_page: OpenPage, run: Run) -> None:
    run("predict", "films", "output=masks", f"checkpoint={NETWORK}", "hydra.run.dir=masks")
    mask_path = Path("masks/a_mask.png")
    edited = np.zeros((96, 80), np.uint8)
    edited[20:70, 10:30], edited[20:70, 50:70] = 255, 255
    Image.fromarray(edited).save(mask_path)  # by hand: a prediction would replace it
    page = open_page(output="masks", corrections="corrections")
    film = page.film("a.png")
    labels, _ = page.mask(film)
    assert ((labels > 0) == (edited > 0)).all()
    assert (labels[20:70, 10:30] == 1).all()  # the patient's right lung is on the image's left
    assert (labels[20:70, 50:70] == 2).all()
    rows = {row["input"]: row for row in table("masks/predictions.csv")}
    assert film["quality"] == float(rows["films/a.png"]["quality"])


def test_sixteen_bits_stay_sixteen_bits(films: Path, open_page: OpenPage) -> None:
    values = draw_chest(500, 96, 80)[0].astype(np.uint16) * 13 + 1000
    write_deep_png(films / "deep.png", values)
    write_dicom(films / "negative.dcm", 4095 - values, PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    page = open_page()
    for name in ("deep.png", "negative.dcm"):
        film = page.film(name)
        answer = page.client.get(f"/api/films/{film['id']}/pixels")
        sizes = [int(answer.headers[f"X-{key}"]) for key in ("Width", "Height", "Bits")]
        assert sizes == [80, 96, 16]
        shown = np.frombuffer(answer.content, "<u2").reshape(96, 80).astype(int)
        assert (shown - shown.min() == values.astype(int) - values.min()).all(), name
        low, high = int(answer.headers["X-Low"]), int(answer.headers["X-High"])
        assert shown.min() <= low < high <= shown.max()
        assert page.client.get(f"/api/films/{film['id']}").json()["bits"] == 16
    eight = page.client.get(f"/api/films/{page.film('a.png')['id']}/pixels")
    assert eight.content == np.asarray(Image.open("films/a.png")).tobytes()
    assert (eight.headers["X-Bits"], eight.headers["X-Low"], eight.headers["X-High"]) == ("8", "0", "255")


def test_a_mirrored_film_is_drawn_as_it_is_stored_and_learned_from_as_usual(films: Path, open_page: OpenPage) -> None:
    chest = draw_chest(500, 96, 80)[0]
    write_dicom(films / "mirrored.dcm", np.ascontiguousarray(chest[:, ::-1]), PatientOrientation=["R", "F"])
    page = open_page()
    film = page.film("mirrored.dcm")
    labels, etag = page.mask(film)
    columns = [np.flatnonzero((labels == label).any(axis=0)).mean() for label in (1, 2)]
    assert columns[0] > columns[1]  # the patient's right side is on the right
    strokes = drawn(labels, seed=3)
    assert page.save(film, strokes, etag).status_code == 200
    assert (page.mask(film)[0] == strokes).all()
    (mask,) = Path("out/corrections/masks").iterdir()
    assert (np.asarray(Image.open(mask))[:, ::-1] == strokes).all()
    shown = np.frombuffer(page.client.get(f"/api/films/{film['id']}/pixels").content, np.uint8).reshape(96, 80)
    assert (np.asarray(Image.open(f"out/corrections/images/{mask.name}"))[:, ::-1] == shown).all()


def test_dropped_films_are_predicted_and_kept(page: Page, open_page: OpenPage) -> None:
    content = (Path("films") / "a.png").read_bytes()
    (added,) = page.drop("new film.png", content).json()["films"]
    assert added["state"] == "waiting"
    assert page.drop("new film.png", content).json()["films"][0]["id"] == added["id"]  # the same file, once
    assert page.film("new film.png")["state"] in ("new", "warned")
    assert open_page().film("new film.png")["id"] == added["id"]


def test_what_a_person_has_looked_at_is_remembered(page: Page, open_page: OpenPage) -> None:
    film = page.film("a.png")
    assert page.post(f"/api/films/{film['id']}/looked").json()["state"] == "looked"
    assert open_page().film("a.png")["state"] == "looked"


def test_the_export_is_what_predict_writes_with_the_corrected_masks(films: Path, open_page: OpenPage, run: Run) -> None:
    chest = draw_chest(500, 96, 80)[0]
    write_dicom(films / "d.dcm", chest, ImagerPixelSpacing=[2.0, 2.0])
    page = open_page()
    film = page.film("d.dcm")
    labels, etag = page.mask(film)
    strokes = labels.copy()
    strokes[10:20, 10:20] = 1
    page.save(film, strokes, etag)
    answer = page.post("/api/export", dicom_seg=True).json()
    assert answer == {"folder": "out/reviewed", "films": 4}
    run("predict", "films", "output=predicted", f"checkpoint={NETWORK}", "dicom_seg=true", "hydra.run.dir=predicted")
    exported, predicted = Path("out/reviewed"), Path("predicted")
    written = {path.name for path in predicted.iterdir() if not path.name.startswith(".")}
    assert {path.name for path in exported.iterdir() if not path.name.startswith(".")} == written
    for name in ("a", "b", "c"):
        assert (exported / f"{name}_mask.png").read_bytes() == (predicted / f"{name}_mask.png").read_bytes()
    assert (np.asarray(Image.open(exported / "d_mask.png")) == 255 * (strokes > 0)).all()

    rows, expected = (
        {row["input"]: row for row in table(folder / "predictions.csv")} for folder in (exported, predicted)
    )
    assert rows["films/a.png"] == expected["films/a.png"]
    corrected = rows["films/d.dcm"]
    assert int(corrected["right_lung_area_px"]) == np.count_nonzero(strokes == 1)
    assert float(corrected["left_lung_area_mm2"]) == 4 * np.count_nonzero(strokes == 2)
    assert corrected["quality"] == corrected["warning"] == ""
    assert corrected["settings"].endswith(" corrected=true")

    from pydicom import dcmread

    segmentation = dcmread(exported / "d_seg.dcm")
    assert (segmentation.pixel_array[0] == (strokes == 1)).all()
    assert (segmentation.pixel_array[1] == (strokes == 2)).all()
    assert {segment.SegmentAlgorithmType for segment in segmentation.SegmentSequence} == {"SEMIAUTOMATIC"}


def test_a_film_that_was_replaced_does_not_keep_the_mask_of_the_other_one(page: Page, open_page: OpenPage) -> None:
    film = page.film("a.png")
    labels, etag = page.mask(film)
    page.save(film, drawn(labels, seed=1), etag)
    write_image(Path("films/a.png"), draw_chest(900, 64, 64)[0])
    later = time.time() + 10
    os.utime("films/a.png", (later, later))
    again = open_page()
    assert again.film("a.png")["state"] in ("new", "warned")
    assert again.mask(again.film("a.png"))[0].shape == (64, 64)
    assert len(list(Path("out/corrections/removed").iterdir())) == 1
    assert "films/a.png has changed" in again.load()["remarks"][0]


def test_a_film_is_decoded_once_for_all_that_the_page_asks_for_at_once(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/films/{page.film('a.png')['id']}"
    decode, decoded = Network.open, []

    def slow(network: Network, film: Path) -> Radiograph:
        decoded.append(film)
        time.sleep(0.2)
        return decode(network, film)

    monkeypatch.setattr(Network, "open", slow)
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda part: page.client.get(path + part), ("", "/pixels", "/mask")))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len(decoded) == 1


def test_a_killed_server_has_every_mask_that_it_said_was_saved(films: Path) -> None:
    port = free_port()
    with server(port, signal.SIGKILL) as page:
        film = page.film("a.png")
        labels, etag = page.mask(film)
        for seed in range(5):
            saved = page.save(film, drawn(labels, seed), etag)
            etag = f'"{saved.json()["revision"]}"'
    with server(port, signal.SIGINT) as page:
        kept, kept_etag = page.mask(page.film("a.png"))
        assert (kept == drawn(labels, seed=4)).all()
        assert kept_etag == etag
        assert page.save(film, drawn(labels, seed=5), etag).status_code == 200


def test_a_second_server_on_the_same_folder_or_port_is_refused(films: Path, run: Run) -> None:
    port = free_port()
    with server(port, signal.SIGINT):
        for arguments, reason in (
            (["output=out"], "out is in use by another process."),
            (["output=other", f"port={port}"], f"host=127.0.0.1 port={port} cannot be listened on"),
        ):
            refused = run("serve", *arguments, f"checkpoint={NETWORK}", "browser=false")
            assert refused.code == 2
            assert reason in refused.err


def test_masks_that_somebody_else_left_are_refused_by_name(films: Path, open_page: OpenPage) -> None:
    """A picture of another size, of colours, of other values, that unpacks to 225 megapixels, or none."""
    page = open_page()
    film = page.film("a.png")
    labels, etag = page.mask(film)
    assert page.save(film, labels, etag).status_code == 200
    (mask,) = Path("out/corrections/masks").glob("*.png")
    right = np.zeros((96, 80), np.uint8)
    for picture in (right[:9], np.dstack([right] * 3), right + np.uint8(3), np.zeros((15_000, 15_000), bool)):
        Image.fromarray(picture).save(mask)
        answer = page.client.get(f"/api/films/{film['id']}/mask", params={"of": "current"})
        assert answer.status_code == 400, answer.text
        assert str(mask) in answer.text
    mask.write_bytes(b"junk")
    assert page.client.get(f"/api/films/{film['id']}/mask", params={"of": "current"}).status_code == 400


@pytest.mark.parametrize("content", [b"\xff,\xe9\n1,2\n", b"a,b\n1,2\n", b"case,revision\na,x\n", b"\0"])
def test_a_table_that_somebody_else_left_is_refused_by_name(films: Path, run: Run, content: bytes) -> None:
    Path("out/corrections").mkdir(parents=True)
    Path("out/corrections/corrections.csv").write_bytes(content)
    outcome = run("serve", "films", "output=out", f"checkpoint={NETWORK}", "browser=false", "port=0")
    assert outcome.code == 2
    assert outcome.err.startswith(
        "out/corrections/corrections.csv is no table of corrections.\nRestore it, or delete it"
    )
