import csv
import dataclasses
import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lung_seg.config import DataConfig, FolderConfig
from lung_seg.errors import UserError
from lung_seg.prepared import prepare as module
from lung_seg.prepared.manifest import Row, read_manifest, write_manifest
from lung_seg.prepared.pixel_cache import build_cache
from lung_seg.prepared.prepare import prepare
from lung_seg.raw.case import Case
from tests import layouts
from tests.conftest import have_cores

DESIGN_COLUMNS = [
    "case_id",
    "source",
    "split",
    "tb_label",
    "patient_id",
    "width_px",
    "height_px",
    "raw_sha256",
    "image_sha256",
    "mask_sha256",
    "original_mask_sha256",
    "spacing_row_mm",
    "spacing_column_mm",
]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """An empty folder to work in; what is logged is caught."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    return tmp_path


def settings(**values) -> DataConfig:
    return DataConfig(**{"name": "few", "source": "montgomery", "raw_dir": "raw", "image_size_px": 32} | values)


def film(number: int) -> Path:
    return Path(f"raw/MontgomerySet/CXR_png/MCUCXR_{number:04d}_{(number + 1) % 2}.png")


def masks(number: int) -> list[Path]:
    return [Path("raw/MontgomerySet/ManualMask") / side / film(number).name for side in ("leftMask", "rightMask")]


def manifest(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def record(folder: Path) -> dict:
    return json.loads((folder / "dataset.json").read_text())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def splits(folder: Path) -> dict[str, str]:
    return {row["case_id"]: row["split"] for row in manifest(folder)}


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> Callable[[], list[str]]:
    """Raise at the nth case; returns what tells the cases whose preparation began."""
    prepare_case, begun = module._prepare_case, []

    def prepare_until(case: Case, *arguments: Any) -> Row:
        begun.append(case.case_id)
        if len(begun) == number:
            raise error
        return prepare_case(case, *arguments)

    monkeypatch.setattr(module, "_prepare_case", prepare_until)
    return lambda: begun


def test_the_manifest_has_the_columns_of_the_readme_and_a_row_per_case(workplace):
    layouts.write_montgomery(workplace / "raw", cases=6, height_px=96, width_px=80)

    folder = prepare(settings())

    assert folder == Path("data/segmentation/few-32")
    rows = manifest(folder)
    assert list(rows[0]) == [*DESIGN_COLUMNS, "age_years", "sex"]
    assert [row["case_id"] for row in rows] == [film(number).stem for number in range(1, 7)]
    assert Counter(row["split"] for row in rows) == {"test": 1, "validation": 1, "train": 4}
    second, third = rows[1], rows[2]
    assert (second["source"], second["tb_label"], second["patient_id"]) == ("montgomery", "1", "MCUCXR_0002")
    assert (second["width_px"], second["height_px"], second["age_years"], second["sex"]) == ("80", "96", "22", "F")
    assert (third["width_px"], third["height_px"]) == ("96", "80")


def test_images_and_masks_are_square_and_have_the_hashes_of_the_manifest(workplace):
    layouts.write_montgomery(workplace / "raw", cases=4)

    folder = prepare(settings())

    for row in manifest(folder):
        for kind in ("image", "mask"):
            path = folder / f"{kind}s" / f"{row['case_id']}.png"
            assert pixels(path).shape == (32, 32)
            assert pixels(path).dtype == np.uint8
            assert hashlib.sha256(path.read_bytes()).hexdigest() == row[f"{kind}_sha256"]
        assert set(np.unique(pixels(path))) == {0, 255}
    first = [path.read_bytes() for path in sorted(folder.glob("*/*.png"))]
    shutil.rmtree(folder)
    prepare(settings())
    assert [path.read_bytes() for path in sorted(folder.glob("*/*.png"))] == first


def test_left_and_right_mask_are_merged(workplace):
    layouts.write_montgomery(workplace / "raw", cases=3, height_px=64, width_px=64)

    folder = prepare(settings(image_size_px=64))

    _, right, left = layouts.draw_chest(1, 64, 64)
    assert np.array_equal(pixels(folder / "masks" / film(1).name) > 0, right | left)


def test_jsrt_radiographs_are_inverted_and_fit_their_masks_of_half_the_size(workplace):
    layouts.write_jsrt(workplace / "raw", cases=3, size_px=128)

    folder = prepare(settings(source="jsrt", image_size_px=64))

    image, right, left = layouts.draw_chest(2001, 128, 128)
    prepared = pixels(folder / "images" / "JPCLN001.png").astype(float)
    assert abs(prepared - image.reshape(64, 2, 64, 2).mean(axis=(1, 3))).max() < 2
    assert np.array_equal(pixels(folder / "masks" / "JPCLN001.png") > 0, (right | left)[::2, ::2])


@pytest.mark.parametrize(
    ("source", "write"),
    [
        ("shenzhen", layouts.write_shenzhen),
        ("montgomery_shenzhen", layouts.write_kaggle),
        ("folder", layouts.write_folder),
    ],
)
def test_every_other_layout(workplace, source, write):
    write(workplace / "raw")

    rows = manifest(prepare(settings(source=source, folder=FolderConfig(patient_pattern=r"^(p\d+)_"))))

    assert Counter(row["split"] for row in rows).keys() == {"train", "validation", "test"}
    assert len({(row["source"], row["patient_id"], row["split"]) for row in rows}) == len(
        {(row["source"], row["patient_id"]) for row in rows}
    )


def test_radiographs_without_mask_are_counted(workplace, caplog):
    layouts.write_shenzhen(workplace / "raw", cases=6, without_mask=2)

    folder = prepare(settings(source="shenzhen"))

    assert record(folder)["without_mask"] == 2
    assert record(folder)["cases"] == 4
    assert "2 radiographs have no mask" in caplog.text


def test_letterbox_has_its_own_folder_and_black_bars(workplace):
    layouts.write_montgomery(workplace / "raw", cases=4, height_px=96, width_px=48)

    folder = prepare(settings(resize="letterbox"))

    assert folder.name == "few-32-letterbox"
    for kind in ("images", "masks"):
        portrait, landscape = (pixels(folder / kind / film(number).name) for number in (1, 3))
        assert not portrait[:, :8].any()
        assert not portrait[:, 24:].any()
        assert not landscape[:8].any()
        assert portrait[:, 8:24].any()


def test_the_preview_shows_something(workplace):
    layouts.write_montgomery(workplace / "raw", cases=5)

    preview = pixels(prepare(settings()) / "preview.png")

    assert preview.shape[2] == 3
    assert preview.std() > 20
    coloured = preview.max(axis=2).astype(int) - preview.min(axis=2) > 60
    assert coloured.sum() > 5 * 2 * 20, "two lungs of five cases have a contour of at least 20 px"


def test_a_second_run_does_nothing_and_says_so(workplace, caplog):
    layouts.write_montgomery(workplace / "raw", cases=5)
    folder = prepare(settings())
    before = times(folder)
    caplog.clear()

    assert prepare(settings()) == folder

    assert times(folder) == before
    assert "data/segmentation/few-32 is up to date: 5 cases." in caplog.text


def test_only_whole_files_are_left(workplace):
    layouts.write_montgomery(workplace / "raw", cases=3)

    folder = prepare(settings())
    build_cache(folder)

    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("pixels-")) == [
        "dataset.json",
        "images",
        "manifest.csv",
        "masks",
        "original_masks",
        "preview.png",
    ]
    assert len(list(folder.glob("*/*"))) == 9
    assert not list(folder.rglob(".*"))


def test_files_can_be_read_by_others_as_the_umask_says(workplace):
    layouts.write_montgomery(workplace / "raw", cases=3)
    (workplace / "plain").write_text("")

    folder = prepare(settings())

    usual = (workplace / "plain").stat().st_mode
    assert {path.stat().st_mode for path in folder.rglob("*") if path.is_file()} == {usual}


def test_an_interrupted_preparation_resumes(workplace, monkeypatch):
    layouts.write_montgomery(workplace / "raw", cases=12)
    have_cores(monkeypatch, 1)
    with monkeypatch.context() as patch:
        stop_at(patch, 8, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt, match=r"what was prepared is kept: the same command continues\."):
            prepare(settings())
    folder = Path("data/segmentation/few-32")
    finished = {path: time for path, time in times(folder / "images").items() if path.name < film(8).name}
    assert len(finished) == 7
    assert not (folder / "manifest.csv").exists()
    assert not list(folder.rglob(".*"))

    begun = stop_at(monkeypatch, 99, RuntimeError())
    prepare(settings())

    assert len(begun()) == 5
    assert times(folder / "images").items() >= finished.items()
    assert not (folder / "journal.jsonl").exists()
    assert len(manifest(folder)) == 12
    shutil.move(folder, "interrupted")
    assert manifest(prepare(settings())) == manifest(Path("interrupted"))


def test_a_truncated_progress_log_costs_one_case(workplace, monkeypatch):
    layouts.write_montgomery(workplace / "raw", cases=6)
    have_cores(monkeypatch, 1)
    for stop in (5, 2):
        with monkeypatch.context() as patch:
            begun = stop_at(patch, stop, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                prepare(settings())
        journal = Path("data/segmentation/few-32/journal.jsonl")
        journal.write_bytes(journal.read_bytes()[:-30])  # as a machine that lost its power leaves it

    begun = stop_at(monkeypatch, 99, RuntimeError())
    folder = prepare(settings())

    assert len(begun()) == 3
    assert len(manifest(folder)) == 6


def test_many_threads_give_what_one_gives(workplace, monkeypatch):
    layouts.write_montgomery(workplace / "raw", cases=12)
    have_cores(monkeypatch, 1)
    one = manifest(prepare(settings()))
    shutil.rmtree("data")
    have_cores(monkeypatch, 6)

    assert manifest(prepare(settings())) == one


def break_films(workplace: Path) -> None:
    """Ten cases, of which 2 is cut off, the mask of 4 has another size and the masks of 7 are empty."""
    layouts.write_montgomery(workplace / "raw", cases=10)
    film(2).write_bytes(film(2).read_bytes()[:200])
    layouts.write_mask(masks(4)[0], np.ones((5, 5)))
    for path in masks(7):
        layouts.write_mask(path, np.zeros(pixels(film(7)).shape))


def test_corrupt_cases_are_skipped_by_name_and_counted(workplace, caplog):
    break_films(workplace)

    folder = prepare(settings())

    assert record(folder)["cases"] == len(manifest(folder)) == 7
    skipped = record(folder)["skipped"]
    assert set(skipped) == {film(number).stem for number in (2, 4, 7)}
    assert f"{film(2)} cannot be read as an image" in skipped[film(2).stem]
    assert f"{masks(4)[0]} is 5x5, but {film(4)} needs a mask of 80x96." in skipped[film(4).stem]
    assert f"{film(7).name} is empty: no pixel is lung" in skipped[film(7).stem]
    assert "3 corrupt cases were skipped" in caplog.text
    assert film(2).name in caplog.text
    assert not list(folder.rglob(f"{film(2).stem}*"))

    caplog.clear()
    prepare(settings())
    assert "is up to date: 7 cases" in caplog.text


def test_repaired_cases_join_and_removed_skipped_ones_are_ignored(workplace):
    break_films(workplace)
    before = splits(prepare(settings()))
    layouts.write_image(film(2), layouts.draw_chest(2, 96, 80)[0])
    film(7).unlink()

    after = splits(prepare(settings()))

    assert set(after) - set(before) == {film(2).stem}
    assert after.items() >= before.items()
    assert set(record(Path("data/segmentation/few-32"))["skipped"]) == {film(4).stem}


def test_larger_files_are_skipped_by_the_settings_name_and_join_once_allowed(workplace):
    layouts.write_montgomery(workplace / "raw", cases=4)
    for path in (film(2), *masks(2)):
        Image.open(path).resize((1_000, 1_001)).save(path)
    folder = prepare(settings(max_megapixels=1))
    skipped, images = record(folder)["skipped"], times(folder / "images")
    assert list(skipped) == [film(2).stem]
    assert "it has 2 megapixels, over max_megapixels=1; raise that" in skipped[film(2).stem]

    prepare(settings(max_megapixels=2))

    assert record(folder)["skipped"] == {}
    assert len(manifest(folder)) == 4
    assert times(folder / "images").items() >= images.items()


def test_a_corrupt_case_stops_when_asked_and_leaves_what_was_there(workplace, monkeypatch):
    have_cores(monkeypatch, 1)
    layouts.write_montgomery(workplace / "raw", cases=4)
    folder = prepare(settings(on_error="stop"))
    before = times(folder)
    layouts.write_montgomery(workplace / "more", cases=7)
    for number in (5, 6, 7):
        for path in (film(number), *masks(number)):
            shutil.copy(Path("more", *path.parts[1:]), path)
    film(6).write_bytes(b"")

    with pytest.raises(UserError, match=rf"{film(6).name} cannot be read(.|\n)*data.on_error=skip"):
        prepare(settings(on_error="stop"))

    assert times(folder).items() >= before.items()
    assert not list(folder.rglob(".*"))
    assert len(manifest(prepare(settings(on_error="skip")))) == 6


def test_a_set_without_a_usable_case_is_refused(workplace):
    layouts.write_montgomery(workplace / "raw", cases=3)
    for number in (1, 2, 3):
        film(number).write_bytes(b"")

    with pytest.raises(UserError, match=rf"None of the 3 cases of raw can be used(.|\n)*{film(1).name}"):
        prepare(settings())


def test_three_cases_are_enough_and_two_are_not(workplace):
    layouts.write_montgomery(workplace / "raw", cases=3)
    assert sorted(splits(prepare(settings())).values()) == ["test", "train", "validation"]

    shutil.rmtree("raw")
    layouts.write_montgomery(workplace / "raw", cases=2)
    with pytest.raises(UserError, match="of 2 cases leaves 0 to train"):
        prepare(settings(name="two"))


def test_cases_added_later_keep_the_splits_and_redo_nothing(workplace):
    layouts.write_montgomery(workplace / "more", cases=20)
    layouts.write_montgomery(workplace / "raw", cases=10)
    folder = prepare(settings(test_cases=0.3))
    before, images = splits(folder), times(folder / "images")
    shutil.copytree("more", "raw", dirs_exist_ok=True, copy_function=copy_if_new)

    prepare(settings(test_cases=0.3))

    after = splits(folder)
    assert after.items() >= before.items()
    assert Counter(after.values()) == {"test": 6, "validation": 3, "train": 11}
    assert times(folder / "images").items() >= images.items()


def copy_if_new(source: str, target: str) -> None:
    if not Path(target).exists():
        shutil.copy2(source, target)


def test_a_mask_drawn_anew_is_prepared_anew_in_the_same_split(workplace):
    layouts.write_montgomery(workplace / "raw", cases=6)
    folder = prepare(settings())
    before = manifest(folder)
    layouts.write_mask(masks(2)[0], np.eye(96, 80))

    prepare(settings())

    changed = [(old, new) for old, new in zip(before, manifest(folder), strict=True) if old != new]
    ((old, new),) = changed
    assert new["case_id"] == film(2).stem
    anew = ("mask_sha256", "original_mask_sha256")
    assert all(old[name] != new[name] for name in anew)
    assert old | {name: new[name] for name in anew} == new


def test_the_masks_are_kept_at_the_radiographs_own_size(workplace):
    layouts.write_montgomery(workplace / "raw", cases=6)
    folder = prepare(settings())
    for number in range(1, 7):
        kept = pixels(folder / "original_masks" / film(number).name)
        assert kept.dtype == bool
        assert np.array_equal(kept, np.logical_or(*(pixels(path) > 0 for path in masks(number))))


def test_a_set_of_another_version_is_prepared_again_in_the_same_split(workplace, caplog):
    layouts.write_montgomery(workplace / "raw", cases=6)
    folder = prepare(settings())
    before = manifest(folder)
    older = record(folder)
    del older["version"]  # the first version had none
    (folder / "dataset.json").write_text(json.dumps(older))
    kept = ("case_id", "split", "tb_label", "image_sha256", "mask_sha256")
    lines = [",".join(kept), *(",".join(row[name] for name in kept) for row in before[::-1])]
    lines[1] = lines[1].replace(before[-1]["split"], "validation")
    (folder / "manifest.csv").write_text("\n".join(lines))
    wrong = folder / "images" / film(2).name
    Image.new("L", (32, 32)).save(wrong)

    prepare(settings())

    before[-1]["split"] = "validation"
    assert manifest(folder) == before
    assert pixels(wrong).any()
    assert "another version of lung_seg" in caplog.text


def test_a_set_of_another_version_is_not_used_without_its_raw_files(workplace):
    layouts.write_montgomery(workplace / "raw", cases=6)
    folder = prepare(settings())
    newer = record(folder) | {"version": 99}
    (folder / "dataset.json").write_text(json.dumps(newer))
    shutil.rmtree("raw")
    with pytest.raises(UserError, match=r"format 99(.|\n)*data\.raw_dir"):
        prepare(settings())


def test_labels_that_arrive_later_are_taken(workplace):
    layouts.write_montgomery(workplace / "raw", cases=6)
    readings = workplace / "raw" / "MontgomerySet" / "ClinicalReadings"
    readings.rename(workplace / "later")
    folder = prepare(settings())
    assert {row["age_years"] for row in manifest(folder)} == {""}
    (workplace / "later").rename(readings)
    prepare(settings())
    assert [row["age_years"] for row in manifest(folder)] == [str(20 + number) for number in range(1, 7)]


def test_without_raw_files_the_prepared_set_is_used_unchanged(workplace, caplog):
    layouts.write_montgomery(workplace / "raw", cases=4)
    folder = prepare(settings())
    before = times(folder)
    shutil.rmtree("raw")
    caplog.clear()

    assert prepare(settings()) == folder

    assert times(folder) == before
    assert "few-32 is used unchanged: data.raw_dir=raw" in caplog.text
    with pytest.raises(UserError, match=r"data\.raw_dir=raw"):
        prepare(settings(image_size_px=64))


def test_cases_that_are_gone_are_refused_and_the_set_is_left_alone(workplace):
    layouts.write_montgomery(workplace / "raw", cases=5)
    before = times(prepare(settings()))
    film(3).unlink()
    film(4).unlink()

    with pytest.raises(UserError, match=rf"2 cases of .*few-32 are no longer in data.raw_dir=raw.*{film(3).stem}"):
        prepare(settings())

    assert times(Path("data/segmentation/few-32")) == before


@pytest.mark.parametrize(
    ("key", "value"), [("test_cases", 0.3), ("split_seed", 1), ("validation_fraction", 0.4), ("source", "shenzhen")]
)
def test_other_split_settings_on_the_same_name_are_refused(workplace, key, value):
    layouts.write_montgomery(workplace / "raw", cases=5)
    before = times(prepare(settings()))

    with pytest.raises(
        UserError, match=rf"data\.{key}={value}, but .*few-32 was prepared with(.|\n)*another data.name"
    ):
        prepare(settings(**{key: value}))

    assert times(Path("data/segmentation/few-32")) == before
    if key != "source":
        prepare(settings(name="other", **{key: value}))


def test_two_names_for_the_same_pixels_end_in_the_same_split(workplace):
    layouts.write_montgomery(workplace / "raw", cases=9)
    for number in (2, 3):
        for path, original in zip((film(number), *masks(number)), (film(1), *masks(1)), strict=True):
            shutil.copy(original, path)

    for seed in range(4):
        dealt = splits(prepare(settings(name=f"seed{seed}", split_seed=seed)))
        assert len({dealt[film(number).stem] for number in (1, 2, 3)}) == 1


def test_the_memory_map_holds_the_pngs_in_the_order_of_the_manifest(workplace):
    layouts.write_montgomery(workplace / "raw", cases=5)
    folder = prepare(settings())

    cache = np.load(build_cache(folder).path)

    assert cache.shape == (5, 2, 32, 32)
    assert cache.dtype == np.uint8
    for number, row in enumerate(manifest(folder)):
        assert np.array_equal(cache[number, 0], pixels(folder / "images" / f"{row['case_id']}.png"))
        assert np.array_equal(cache[number, 1] * 255, pixels(folder / "masks" / f"{row['case_id']}.png"))


def test_the_memory_map_is_written_once_and_again_when_the_set_changes(workplace):
    layouts.write_montgomery(workplace / "raw", cases=4)
    folder = prepare(settings())
    first = build_cache(folder).path
    written = first.stat().st_mtime_ns
    assert build_cache(folder).path == first
    assert first.stat().st_mtime_ns == written

    layouts.write_mask(masks(2)[0], np.eye(96, 80))
    second = build_cache(prepare(settings())).path

    assert second != first
    assert list(folder.glob("pixels-*")) == [second]
    assert not np.array_equal(np.load(second)[1, 1], np.zeros((32, 32)))


def test_a_file_missing_from_a_prepared_set_is_named(workplace):
    layouts.write_montgomery(workplace / "raw", cases=3)
    folder = prepare(settings())
    (folder / "masks" / film(2).name).unlink()

    with pytest.raises(UserError, match=rf"missing or have changed .*masks/{film(2).name}"):
        build_cache(folder)
    assert not list(folder.glob("*.npy"))


def test_a_manifest_comes_back_as_it_was_even_through_a_spreadsheet(workplace):
    rows = [
        Row("a,1", "folder", "train", None, 'Anna "A"', 10, 20, "0" * 64, "1" * 64, "4" * 64, "5" * 64),
        Row("ö", "montgomery", "test", 1, "p", 4020, 4892, "2" * 64, "3" * 64, "6" * 64, "7" * 64, 0.1, 1 / 7, 0, "F"),
    ]
    path = Path("manifest.csv")
    write_manifest(path, rows)
    assert read_manifest(path) == rows

    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_manifest(path) == rows


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train", "training", r"manifest\.csv, line 2, has the split 'training'(.|\n)*train, validation, test"),
        (",10,", ",ten,", r"line 2, has width_px=ten(.|\n)*whole number"),
        (",0.25,", ",wide,", r"line 2, has spacing_row_mm=wide(.|\n)*number or empty"),
        ("case_id", "name", r"manifest\.csv has the columns"),
    ],
)
def test_a_manifest_edited_wrongly_is_refused(workplace, old, new, message):
    path = Path("manifest.csv")
    write_manifest(path, [Row("a", "folder", "train", None, "p", 10, 20, "0", "1", "2", "3", 0.25, 0.25)])
    path.write_text(path.read_text().replace(old, new, 1))

    with pytest.raises(UserError, match=message):
        read_manifest(path)


def test_a_manifest_that_is_not_there(workplace):
    with pytest.raises(UserError, match=r"manifest\.csv is not there(.|\n)*prepare_data\.py"):
        read_manifest(Path("manifest.csv"))


def test_settings_of_an_older_checkpoint_are_read_and_unknown_ones_refused():
    plain = dataclasses.asdict(settings())
    assert DataConfig.from_plain(plain) == settings()
    older = {("phantoms_beside" if key == "synthetic_per_epoch" else key): value for key, value in plain.items()}
    assert DataConfig.from_plain(older | {"phantoms_beside": 7}) == settings(synthetic_per_epoch=7)
    with pytest.raises(TypeError, match="neither"):
        DataConfig.from_plain(plain | {"neither": 1})


@pytest.mark.parametrize(("missing", "ending"), [(3, r"masks/\S+\.png\."), (4, r"masks/\S+\.png, ….")])
def test_of_files_missing_three_are_named(workplace, missing, ending):
    layouts.write_montgomery(workplace / "raw", cases=4)
    folder = prepare(settings())
    for number in range(1, missing + 1):
        (folder / "masks" / film(number).name).unlink()

    with pytest.raises(UserError, match=rf"^{missing} files of .*: (masks/\S+, ){{2}}{ending}\n"):
        build_cache(folder)
