"""Radiographs in, masks out: through predict.py and through Predictor."""

import csv
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lung_seg import Predictor
from lung_seg.errors import UserError
from lung_seg.model.checkpoint import find_checkpoint, load_network
from lung_seg.prediction.predictor import Prediction
from lung_seg.raw.radiograph import Radiograph, open_radiograph, read_radiograph
from tests.conftest import Run, have_cores, read_here
from tests.layouts import draw_chest, write_dicom, write_image

CHECKPOINT = "checkpoint=runs/first"


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {Path(row["input"]).name: row for row in csv.DictReader(file)}


def read_mask(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        mask = np.asarray(image)
    assert set(np.unique(mask)) <= {0, 255}
    return mask > 0


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@pytest.fixture
def films(trained: Path) -> Path:
    """Four radiographs of awkward sizes and encodings in ./films, the last ones in a folder of their own."""
    folder = trained / "films"
    for number, (name, size) in enumerate(
        {"a.png": (97, 61), "b.jpg": (64, 80), "c.tif": (150, 133), "ward, (2)/d [x].png": (40, 40)}.items()
    ):
        write_image(folder / name, draw_chest(500 + number, *size)[0])
    return folder


def test_each_radiograph_gets_a_mask_at_its_own_size_an_overlay_and_a_row(films: Path, run: Run) -> None:
    outcome = run("predict", "input=films", CHECKPOINT, "output=out")
    assert outcome.code == 0, outcome.err
    assert "Predicted 4 radiographs" in outcome.out
    rows = table(Path("out"))
    assert set(rows) == {"a.png", "b.jpg", "c.tif", "d [x].png"}
    for path in films.rglob("*.*"):
        row = rows[path.name]
        mask = read_mask(Path("out", row["mask"]))
        assert mask.shape == read_radiograph(path).shape == (int(row["height_px"]), int(row["width_px"]))
        assert Path("out", row["mask"].replace("_mask", "_overlay")).is_file()
        assert mask.sum() == int(row["lung_area_px"])
        assert int(row["right_lung_area_px"]) + int(row["left_lung_area_px"]) == mask.sum()
        assert float(row["lung_area_fraction"]) == pytest.approx(mask.mean(), abs=1e-6)
        assert row["components"] == "2"
        assert row["lung_area_mm2"] == row["error"] == ""
        box = [int(row[f"box_{name}"]) for name in ("left_px", "top_px", "width_px", "height_px")]
        rows_in, columns_in = np.nonzero(mask)
        assert box[:2] == [columns_in.min(), rows_in.min()]
        assert box[2:] == [np.ptp(columns_in) + 1, np.ptp(rows_in) + 1]
    assert rows["d [x].png"]["mask"] == "ward, (2)/d [x]_mask.png"


def test_the_lungs_are_found_on_the_patients_sides(films: Path, run: Run) -> None:
    _, right, left = draw_chest(500, 97, 61)
    found = Predictor("runs/first").predict("films/a.png")
    assert dice(found.mask, right | left) > 0.9
    assert dice(found.right, right) > 0.85
    assert dice(found.left, left) > 0.85
    assert found.probability.shape == (97, 61)
    assert found.probability[right | left].mean() > 0.5 > found.probability[~(right | left)].mean()


@pytest.mark.parametrize(
    ("text", "count"),
    [("films/a.png", 1), ("films/*.png", 1), ("films/**/*.png", 2), ("films/ward, (2)/d [x].png", 1), ("list.txt", 2)],
)
def test_input_is_a_file_a_folder_a_pattern_or_a_list(films: Path, run: Run, text: str, count: int) -> None:
    Path("list.txt").write_text("films/a.png\n\nfilms/b.jpg\n")
    outcome = run("predict", f"input={text}", CHECKPOINT, "output=out")
    assert outcome.code == 0, outcome.err
    assert len(table(Path("out"))) == count


def test_results_of_files_of_one_stem_do_not_overwrite_each_other(trained: Path, run: Run) -> None:
    for name in ("x.png", "x.jpg", "ward/x.png"):
        write_image(Path("films", name), draw_chest(1, 40, 40)[0])
    assert run("predict", "input=films", CHECKPOINT, "output=films/out").code == 0
    masks = {path.relative_to("films/out").as_posix() for path in Path("films/out").rglob("*_mask.png")}
    assert masks == {"x_png_mask.png", "x_jpg_mask.png", "ward/x_mask.png"}
    assert run("predict", "input=films", CHECKPOINT, "output=films/out").code == 0  # does not predict its own masks
    with Path("films/out/predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3


def test_results_of_two_runs_and_of_odd_names_do_not_overwrite_each_other(trained: Path, run: Run) -> None:
    for name in ("one/x.png", "two/x.png", "odd/x.png", "odd/x.jpg", "odd/x_png.png"):
        write_image(Path(name), draw_chest(1, 40, 40)[0])
    for folder in ("one", "two", "odd", "two"):
        assert run("predict", f"input={folder}", CHECKPOINT, "output=out", "overlay=false").code == 0
    with Path("out/predictions.csv").open() as file:
        masks = {row["input"]: row["mask"] for row in csv.DictReader(file)}
    assert masks["one/x.png"] == "x_mask.png"
    assert masks["two/x.png"] == "x_2_mask.png"
    assert len(set(masks.values())) == len(masks) == 5
    assert {path.name for path in Path("out").glob("*.png")} == set(masks.values())


def test_a_new_file_does_not_overwrite_the_numbered_mask_of_one_that_is_left_alone(trained: Path, run: Run) -> None:
    for folder in ("one", "two"):
        write_image(Path(folder, "x.png"), draw_chest(1, 40, 40)[0])
        assert run("predict", f"input={folder}", CHECKPOINT, "output=out", "overlay=false").code == 0
    before = Path("out/x_2_mask.png").read_bytes()
    write_image(Path("two", "x_2.png"), draw_chest(2, 50, 50)[0])
    assert run("predict", "input=two", CHECKPOINT, "output=out", "overlay=false", "skip_existing=true").code == 0
    assert Path("out/x_2_mask.png").read_bytes() == before
    with Path("out/predictions.csv").open() as file:
        assert sorted(row["mask"] for row in csv.DictReader(file)) == ["x_2_2_mask.png", "x_2_mask.png", "x_mask.png"]


def test_a_row_cut_short_or_with_a_mask_elsewhere_is_predicted_anew(films: Path, run: Run) -> None:
    arguments = ("input=films", CHECKPOINT, "output=out", "overlay=false")
    assert run("predict", *arguments).code == 0
    path = Path("out/predictions.csv")
    header, first, *others, last = path.read_text().splitlines()
    path.write_text("\n".join([header, first.replace("a_mask.png", "../a_mask.png"), *others, last[:30]]))
    Path("a_mask.png").write_text("somebody's")
    outcome = run("predict", *arguments, "skip_existing=true")
    assert outcome.code == 0, outcome.err
    assert "Predicted 2 radiographs" in outcome.out
    assert {row["mask"] for row in table(Path("out")).values()} >= {"a_mask.png", "ward, (2)/d [x]_mask.png"}
    assert Path("a_mask.png").read_text() == "somebody's"


@pytest.mark.parametrize("content", [b"name,age\nZo\xc3\xab,7\n", b"\xff\xfe\x00"])
def test_a_table_of_somebody_elses_is_refused_and_kept(films: Path, run: Run, content: bytes) -> None:
    Path("out").mkdir()
    Path("out/predictions.csv").write_bytes(content)
    outcome = run("predict", "input=films", CHECKPOINT, "output=out")
    assert outcome.code == 2
    assert "out/predictions.csv has other columns" in outcome.err
    assert Path("out/predictions.csv").read_bytes() == content


def test_segmentations_are_written_of_dicom_and_the_other_films_get_their_masks(films: Path, run: Run) -> None:
    write_dicom(films / "e.dcm", draw_chest(7, 60, 60)[0])
    outcome = run("predict", "input=films", CHECKPOINT, "output=out", "dicom_seg=true")
    assert outcome.code == 0, outcome.err
    assert len(list(Path("out").rglob("*_mask.png"))) == 5
    assert [path.name for path in Path("out").rglob("*_seg.dcm")] == ["e_seg.dcm"]


def test_bf16_finds_the_same_lungs(films: Path) -> None:
    exact, fast = (Predictor("runs/first", precision=name).predict("films/a.png") for name in ("32-true", "bf16-mixed"))
    assert 0 < np.abs(exact.probability - fast.probability).max() < 0.1
    assert dice(exact.mask, fast.mask) > 0.98
    with pytest.raises(UserError, match=r"precision=bf16 must be one of auto \| 32-true"):
        Predictor("runs/first", precision="bf16")


def test_a_list_of_paths_with_dots_writes_nothing_outside_the_output(films: Path, run: Run) -> None:
    Path("list.txt").write_text("films/../films/a.png\nfilms/b.jpg\n")
    assert run("predict", "input=list.txt", CHECKPOINT, "output=here/out", "overlay=false").code == 0
    assert {path.name for path in Path("here/out").glob("*.png")} == {"a_mask.png", "b_mask.png"}


def test_a_bad_file_gets_a_row_and_the_others_their_masks(films: Path, run: Run) -> None:
    (films / "text.png").write_text("no image")
    whole = (films / "a.png").read_bytes()
    (films / "cut.png").write_bytes(whole[: len(whole) // 2])
    (films / "empty.jpg").touch()
    (films / "gone.png").symlink_to("nowhere.png")
    (films / "gone").symlink_to("nowhere")
    outcome = run("predict", "input=films", CHECKPOINT, "output=out")
    assert outcome.code == 1
    assert outcome.err.count("\n") <= 3
    assert "4 files could not be used" in outcome.err
    rows = table(Path("out"))
    failed = {name for name, row in rows.items() if row["error"]}
    assert failed == {"text.png", "cut.png", "empty.jpg", "gone.png"}
    assert "does not exist" in rows["gone.png"]["error"]
    assert "the file is empty" in rows["empty.jpg"]["error"]
    assert all("cannot be read" in rows[name]["error"] for name in failed - {"gone.png"})
    assert not any(rows[name]["mask"] for name in failed)
    assert len(list(Path("out").rglob("*_mask.png"))) == 4


def test_of_a_single_file_the_reason_is_printed(films: Path, run: Run) -> None:
    (films / "a.pdf.png").write_bytes(b"%PDF-1.7")
    refused = run("predict", "films/a.pdf.png", CHECKPOINT, "output=out")
    assert refused.code == 1
    assert refused.err.startswith("1 file could not be used: films/a.pdf.png cannot be read as an image: it is a PDF")
    assert "Predicted" not in refused.out

    write_image(films / "noise.png", np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    warned = run("predict", "films/noise.png", CHECKPOINT, "output=out")
    assert warned.code == 0
    assert f"Check 1 mask: {table(Path('out'))['noise.png']['warning']}\n" in warned.out


@pytest.mark.parametrize("inverted", [False, True])
def test_a_blank_radiograph_has_no_lungs(films: Path, run: Run, inverted: bool) -> None:
    write_image(films / "blank.png", np.full((60, 50), 77, np.uint8))
    outcome = run("predict", "input=films", CHECKPOINT, "output=out", f"inverted={str(inverted).lower()}")
    assert outcome.code == 1
    reason = f"films/blank.png is blank: every pixel has the grey level {178 if inverted else 77}."
    assert outcome.err == f"1 file could not be used: {reason}\n"
    assert not list(Path("out").glob("blank*"))
    assert len(list(Path("out").rglob("*_mask.png"))) == 4
    with pytest.raises(UserError, match="is blank"):
        Predictor("runs/first").predict(films / "blank.png")


def test_files_of_too_many_pixels_are_refused_by_the_settings_name(films: Path, run: Run) -> None:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 14_142, 14_142, 8, 0, 0, 0, 0)  # 200 megapixels without any data
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (films / "bomb.png").write_bytes(bomb + b"\0\0\0\0IDAT\x35\xaf\x06\x1e")
    write_image(films / "large.png", draw_chest(1, 1_001, 1_000)[0])

    assert run("predict", "input=films", CHECKPOINT, "output=out", "max_megapixels=1").code == 1

    errors = {name: row["error"] for name, row in table(Path("out")).items() if row["error"]}
    assert errors.keys() == {"bomb.png", "large.png"}
    assert "bomb.png cannot be read as an image: it has 200 megapixels, over max_megapixels=1" in errors["bomb.png"]
    assert "it has 2 megapixels, over max_megapixels=1" in errors["large.png"]
    assert run("predict", "input=films/large.png", CHECKPOINT, "output=out").code == 0
    with pytest.raises(UserError, match="it has 2 megapixels, over max_megapixels=1"):
        Predictor("runs/first", max_megapixels=1).predict(films / "large.png")


def test_a_stopped_run_resumes(films: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counted(path: Path, *settings: object) -> Radiograph:
        seen.append(path.name)
        return open_radiograph(path, *settings)

    probabilities = Predictor.probabilities

    def stopped(predictor: Predictor, network_inputs: list) -> list:
        if len(list(Path("out").glob("*_mask.png"))) >= 1:
            raise KeyboardInterrupt
        return probabilities(predictor, network_inputs)

    read_here(monkeypatch, counted)
    have_cores(monkeypatch, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "probabilities", stopped)
        stopped_run = run("predict", "input=films", CHECKPOINT, "output=out")
    assert stopped_run.code == 130
    assert "Stopped; what was saved is kept." in stopped_run.err
    before = table(Path("out"))
    assert 1 <= len(before) < 4
    seen.clear()
    outcome = run("predict", "input=films", CHECKPOINT, "output=out", "skip_existing=true")
    assert outcome.code == 0, outcome.err
    assert f"Left alone {len(before)} radiograph" in outcome.out
    assert not set(seen) & set(before)
    rows = table(Path("out"))
    assert len(rows) == 4
    assert {name: rows[name] for name in before} == before


def test_what_is_asked_for_later_is_written_of_radiographs_that_were_predicted_before(films: Path, run: Run) -> None:
    arguments = ("input=films", CHECKPOINT, "output=out", "skip_existing=true")
    assert run("predict", *arguments, "overlay=false").code == 0
    cropped = run("predict", *arguments, "overlay=false", "crop=true")
    assert "Predicted 4 radiographs" in cropped.out
    assert len(list(Path("out").rglob("*_crop.png"))) == len(list(Path("out").rglob("*_lungs.png"))) == 4
    assert not list(Path("out").rglob("*_overlay.png"))
    assert "Left alone 4 radiographs" in run("predict", *arguments, "overlay=false", "crop=true").out
    Path("out/a_mask.png").unlink()
    assert "Left alone 3 radiographs" in run("predict", *arguments, "overlay=false").out


def test_only_a_few_radiographs_are_in_memory_at_once(trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        write_image(Path("films", f"{number}.png"), draw_chest(number, 32, 32)[0])
    loaded, most = [0], [0]
    finish = Predictor.finish

    def counted(path: Path, *settings: object) -> Radiograph:
        loaded[0] += 1
        most[0] = max(most[0], loaded[0])
        return open_radiograph(path, *settings)

    def finished(*arguments: object) -> Prediction:
        loaded[0] -= 1
        return finish(*arguments)

    read_here(monkeypatch, counted)
    monkeypatch.setattr(Predictor, "finish", finished)
    have_cores(monkeypatch, 3)
    assert run("predict", "input=films", CHECKPOINT, "output=out", "overlay=false", "batch_size=2").code == 0
    assert len(table(Path("out"))) == 40
    assert 2 <= most[0] <= 6


def test_predicting_leaves_the_threads_of_pytorch_as_they_were(
    films: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> tuple[int, int]:
        with ThreadPoolExecutor(1) as pool:  # a thread that has not used PyTorch takes the process's number
            return torch.get_num_threads(), pool.submit(torch.get_num_threads).result()

    before = threads()
    have_cores(monkeypatch, 8)  # two for each of the four films, where tests have one

    assert run("predict", "input=films", CHECKPOINT, "output=out").code == 0

    assert threads() == before


def test_crops_show_the_lungs_with_a_margin(films: Path, run: Run) -> None:
    arguments = ("input=films/a.png", CHECKPOINT, "output=out", "crop=true", "overlay=false")
    assert run("predict", *arguments).code == 0
    row = table(Path("out"))["a.png"]
    margin_px = round(0.05 * max(int(row["box_width_px"]), int(row["box_height_px"])))
    top, left = int(row["box_top_px"]) - margin_px, max(0, int(row["box_left_px"]) - margin_px)
    crop, lungs = (np.asarray(Image.open(f"out/a_{kind}.png")) for kind in ("crop", "lungs"))
    rows, columns = (slice(top, top + crop.shape[0]), slice(left, left + crop.shape[1]))
    film, mask = read_radiograph(Path("films/a.png"))[rows, columns], read_mask(Path("out/a_mask.png"))[rows, columns]
    np.testing.assert_array_equal(crop, film)
    np.testing.assert_array_equal(lungs[mask], film[mask])
    assert lungs[~mask].mean() < film[~mask].mean() / 2
    assert {path.name for path in Path("out").glob("*.png")} == {"a_mask.png", "a_crop.png", "a_lungs.png"}


def test_areas_are_in_square_millimetres_where_the_spacing_is_known(films: Path, run: Run) -> None:
    assert run("predict", "input=films/a.png", CHECKPOINT, "output=out", "spacing_mm=0.5").code == 0
    row = table(Path("out"))["a.png"]
    assert float(row["lung_area_mm2"]) == pytest.approx(int(row["lung_area_px"]) / 4, abs=0.1)


def test_an_array_predicts_like_its_file_and_inverted_files_like_their_negative(films: Path, run: Run) -> None:
    predictor = Predictor("runs/first")
    film = read_radiograph(films / "a.png")
    mask = predictor.predict(film).mask
    np.testing.assert_array_equal(mask, predictor.predict("films/a.png").mask)
    write_image(films / "negative.png", 255 - film)
    assert run("predict", "input=films/negative.png", CHECKPOINT, "output=out", "inverted=true").code == 0
    np.testing.assert_array_equal(mask, read_mask(Path("out/negative_mask.png")))


def test_flip_and_ensembles_average_probabilities(films: Path, run: Run) -> None:
    film = read_radiograph(films / "a.png")
    alone, twice = Predictor("runs/first"), Predictor("runs/first", "runs/first/checkpoints/best.ckpt")
    network_input = alone.to_network_input(film)
    (probability,) = alone.probabilities([network_input])
    logits = load_network(find_checkpoint(Path("runs/first")))[0](torch.from_numpy(network_input[None, None]))
    assert np.ptp(probability) > 0.02  # it is hardly trained
    np.testing.assert_allclose(probability, logits.detach().sigmoid()[0, 0], atol=0.003)  # bf16, where it is faster
    np.testing.assert_allclose(alone.predict(film).probability, twice.predict(film).probability, atol=1e-6)
    flipped = Predictor("runs/first", flip=True).predict(film).probability
    mirrored = np.ascontiguousarray(film[:, ::-1])
    by_hand = (alone.predict(film).probability + alone.predict(mirrored).probability[:, ::-1]) / 2
    np.testing.assert_allclose(flipped, by_hand, atol=1e-5)
    outcome = run("predict", "input=films/a.png", "checkpoint=[runs/first,runs/first]", "output=out")
    assert outcome.code == 0, outcome.err


def test_a_probability_of_one_half_is_lung_as_in_the_scores(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probability = np.zeros((1, 32, 32), np.float32)
    probability[0, 4:28, 6:13] = probability[0, 4:28, 18:25] = 0.5
    monkeypatch.setattr(Predictor, "probabilities", lambda *_: probability)
    lungs = Predictor("runs/first", cleaning=False).predict(np.zeros((32, 32), np.uint8))
    np.testing.assert_array_equal(lungs.mask, probability[0] > 0)
    assert "no lung was found" not in lungs.warning


def test_cleaning_can_be_switched_off(films: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    speck = np.zeros((1, 32, 32), np.float32)
    speck[0, 4:28, 6:13] = speck[0, 4:28, 18:25] = 0.9
    speck[0, 30:32, 14:16] = 0.9
    monkeypatch.setattr(Predictor, "probabilities", lambda *_: speck)
    components = []
    for cleaning in ("true", "false"):
        run("predict", "input=films/a.png", CHECKPOINT, f"output={cleaning}", f"cleaning={cleaning}")
        components.append(table(Path(cleaning))["a.png"]["components"])
    assert components == ["2", "3"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("input=nowhere",), ("input=nowhere", "names no radiograph")),
        (("input=",), ("input= is empty",)),
        ((), ("input", "is not set")),
        (("input=films/a.png", "checkpoint=nowhere"), ("checkpoint=nowhere", "does not exist")),
        (("input=films/a.png", "checkpoint=5"), ("checkpoint=5", "does not exist")),
        (("input=films/a.png", "checkpoint=films/a.png"), ("no whole checkpoint",)),
        (("input=films/a.png", "batch_size=0"), ("batch_size=0", "at least 1")),
        (("input=films/a.png", "skip_exsiting=true"), ("skip_exsiting", "Did you mean")),
    ],
)
def test_a_mistake_is_reported_in_two_lines(
    films: Path, run: Run, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    outcome = run("predict", *arguments)
    assert outcome.code == 2
    assert 1 <= len(outcome.err.splitlines()) <= 2
    assert all(word in outcome.err for word in words)


@pytest.mark.parametrize(
    ("given", "words"),
    [(np.zeros((4, 4, 3), np.uint8), r"\(4, 4, 3\) of uint8"), ([[0, 1]], "A list"), (None, "NoneType")],
)
def test_an_array_that_is_no_radiograph_is_refused(trained: Path, given: object, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Predictor("runs/first").predict(given)
