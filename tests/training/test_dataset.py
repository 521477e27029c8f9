import dataclasses
import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from lung_seg.config import BACKGROUND, LUNG, AugmentationConfig, DataConfig, PhantomConfig
from lung_seg.errors import UserError
from lung_seg.prepared.manifest import read_manifest
from lung_seg.prepared.pixel_cache import build_cache
from lung_seg.prepared.prepare import prepare
from lung_seg.training.augment import Augment
from lung_seg.training.datamodule import LungDataModule
from lung_seg.training.dataset import LungDataset, Sample, SampleIndex
from tests import layouts

SIZE_PX = 48
STRONG = AugmentationConfig(
    rotation_deg=40,
    scale=0.3,
    shift=0.15,
    horizontal_flip=0.5,
    brightness=0.2,
    contrast=0.3,
    gamma=0.4,
    tone_curve=0.5,
    shading=0.4,
    noise=0.05,
    blur_px=1.5,
    elastic=0.03,
    opacity=0.5,
    lucency=0.5,
    invert=0.2,
)
GEOMETRY = ("rotation_deg", "scale", "shift", "horizontal_flip", "elastic")
EXPOSURE = (
    "brightness",
    "contrast",
    "gamma",
    "tone_curve",
    "shading",
    "noise",
    "blur_px",
    "opacity",
    "lucency",
    "invert",
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """A prepared set of 16 cases: 2 to test, 3 to validate, 11 to train."""
    folder = tmp_path_factory.mktemp("prepared")
    layouts.write_montgomery(folder / "raw", cases=16)
    data = DataConfig(
        name="few",
        source="montgomery",
        raw_dir=str(folder / "raw"),
        prepared_dir=str(folder / "segmentation"),
        image_size_px=SIZE_PX,
        batch_size=3,
        workers=0,
    )
    build_cache(prepare(data))
    return data


def make_datamodule(data: DataConfig, params: AugmentationConfig = STRONG, seed: int = 0, **changes) -> LungDataModule:
    module = LungDataModule(dataclasses.replace(data, **changes), params, seed)
    module.prepare_data()
    module.setup("fit")
    return module


def make_dataset(data: DataConfig, params: AugmentationConfig | None = STRONG, seed: int = 0) -> LungDataset:
    return make_datamodule(data, seed=seed).dataset("train", augment=params and Augment(params, SIZE_PX))


def epochs(module: LungDataModule, count: int) -> list[list[Sample]]:
    """The training samples of some epochs in the order in which they come."""
    loader = module.train_dataloader()
    samples = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)  # Lightning does
        samples.append([Sample(*parts) for batch in loader for parts in zip(*batch, strict=True)])
    return samples


def order(samples: Iterable[Sample]) -> list[int]:
    return [int(sample.row) for sample in samples]


def same(first: Sample, second: Sample) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_samples_are_uint8_images_and_masks_of_background_and_lung(prepared):
    for params in (None, STRONG):
        image, mask, row = make_dataset(prepared, params)[SampleIndex(0, 2)]

        assert image.shape == mask.shape == (1, SIZE_PX, SIZE_PX)
        assert (image.dtype, mask.dtype, row.dtype) == (torch.uint8, torch.uint8, torch.int64)
        assert mask.unique().tolist() == [BACKGROUND, LUNG]


@pytest.mark.parametrize("workers", [1, 2])
def test_samples_are_the_same_whatever_the_number_of_workers(prepared, workers):
    alone = epochs(make_datamodule(prepared), 2)

    together = epochs(make_datamodule(prepared, workers=workers), 2)

    for epoch in range(2):
        assert order(together[epoch]) == order(alone[epoch])
        assert all(map(same, together[epoch], alone[epoch]))


def test_a_sample_depends_on_seed_epoch_and_case_but_not_on_what_came_before(prepared):
    dataset = make_dataset(prepared)
    first = dataset[SampleIndex(3, 5)]

    dataset[SampleIndex(0, 1)]

    assert same(dataset[SampleIndex(3, 5)], first)
    assert same(make_dataset(prepared)[SampleIndex(3, 5)], first)
    assert not same(dataset[SampleIndex(4, 5)], first)
    assert not same(make_dataset(prepared, seed=1)[SampleIndex(3, 5)], first)


def test_each_case_is_varied_on_its_own(prepared):
    dataset = make_dataset(prepared, AugmentationConfig(invert=0.5))

    samples = [dataset[SampleIndex(0, position)] for position in range(11)]

    inverted = {not np.array_equal(sample.image[0], dataset.pixels[sample.row, 0]) for sample in samples}
    assert inverted == {True, False}


def test_the_next_epoch_varies_a_case_differently(prepared):
    first, second = (
        {int(sample.row): sample for sample in samples} for samples in epochs(make_datamodule(prepared), 2)
    )

    assert not any(same(first[row], second[row]) for row in first.keys() & second.keys())


def test_the_order_differs_by_epoch_and_repeats_by_seed(prepared):
    first, second = (order(samples) for samples in epochs(make_datamodule(prepared), 2))

    assert first != second
    assert [order(samples) for samples in epochs(make_datamodule(prepared), 2)] == [first, second]
    assert order(epochs(make_datamodule(prepared, seed=1), 1)[0]) != first
    training = [number for number, row in enumerate(make_datamodule(prepared).rows) if row.split == "train"]
    for rows in (first, second):
        assert len(rows) == len(set(rows)) == 9, "the last batch of two is left out"
        assert set(rows) < set(training)


def test_validation_and_test_cases_come_once_each_in_order_and_untouched(prepared):
    module = make_datamodule(prepared)
    pixels = np.load(module.pixels)

    for split, loader in (("validation", module.val_dataloader()), ("test", module.test_dataloader())):
        for _ in range(2):
            batches = list(loader)
            assert torch.cat([batch.row for batch in batches]).tolist() == [
                number for number, row in enumerate(module.rows) if row.split == split
            ]
            for batch in batches:
                assert np.array_equal(batch.image[:, 0], pixels[batch.row, 0])
                assert np.array_equal(batch.mask[:, 0], pixels[batch.row, 1] > 0)


def test_the_test_loader_scores_other_splits_when_asked(prepared):
    module = make_datamodule(prepared)
    module.test_splits = ("train", "validation", "test")

    assert sum(len(batch.row) for batch in module.test_dataloader()) == 16


def test_folds_replace_the_split(prepared):
    validated: list[int] = []
    for fold in range(3):
        module = make_datamodule(prepared, folds=3, fold=fold)
        validated += [int(row) for batch in module.val_dataloader() for row in batch.row]

    assert sorted(validated) == [number for number, row in enumerate(module.rows) if row.split != "test"]


def test_without_augmentation_a_training_sample_is_the_prepared_one(prepared):
    dataset = make_dataset(prepared, AugmentationConfig())

    image, mask, row = dataset[SampleIndex(1, 0)]

    assert np.array_equal(image[0], dataset.pixels[row, 0])
    assert np.array_equal(mask[0], dataset.pixels[row, 1] > 0)


def test_batches_for_a_gpu_are_pinned_in_training_and_in_a_bare_loop(prepared):
    module = make_datamodule(prepared, workers=None)
    assert not module.train_dataloader().pin_memory
    strategy = SimpleNamespace(root_device=torch.device("cuda"))  # as benchmarks/throughput.py sets it
    module.trainer = SimpleNamespace(world_size=1, global_rank=0, strategy=strategy)
    assert module.train_dataloader().pin_memory
    assert module.train_dataloader().num_workers > 0


def test_pickling_a_dataset_does_not_copy_the_pixels(prepared):
    dataset = make_dataset(prepared, None)
    unopened = len(pickle.dumps(dataset))
    opened = dataset[SampleIndex(0, 0)]

    pickled = pickle.dumps(dataset)

    assert len(pickled) == unopened < dataset.pixels.nbytes / 10
    assert same(pickle.loads(pickled)[SampleIndex(0, 0)], opened)


def test_samples_can_be_written_to_without_harm(prepared):
    dataset = make_dataset(prepared, None)
    image, _, row = dataset[SampleIndex(0, 0)]

    image.fill_(0)

    assert dataset.pixels[row, 0].any()


def test_a_batch_larger_than_the_training_cases_is_refused(prepared):
    module = make_datamodule(prepared, batch_size=12)

    with pytest.raises(UserError, match=r"data\.batch_size=12 exceeds the 11 training cases in .*few-48\.\nLower"):
        module.train_dataloader()
    make_datamodule(prepared, batch_size=11).train_dataloader()


def test_a_checkpoint_knows_the_radiographs_it_has_seen(prepared):
    module = make_datamodule(prepared)

    for split in ("train", "validation", "test"):
        seen = module.state_dict()[split]
        assert seen == [row.image_sha256 + row.mask_sha256 for row in module.rows if row.split == split]
        assert seen


def test_a_prepared_set_can_move_to_another_place(prepared, tmp_path):
    shutil.copytree(Path(prepared.prepared_dir), tmp_path / "elsewhere")
    module = make_datamodule(prepared, prepared_dir=str(tmp_path / "elsewhere"), raw_dir=DataConfig.raw_dir)

    assert module.rows == read_manifest(make_datamodule(prepared).folder / "manifest.csv")


def bright_shape() -> tuple[np.ndarray, np.ndarray]:
    """A bright L on black, and the mask of it: no flip and no rotation maps it on itself."""
    mask = np.zeros((96, 96), np.uint8)
    mask[30:70, 35:50] = mask[55:70, 35:75] = 1
    return mask * np.uint8(255), mask


def variations(count: int = 24, **params: float) -> list[tuple[np.ndarray, np.ndarray]]:
    augment = Augment(AugmentationConfig(**params), 96)
    return [augment(*bright_shape(), seed=(0, epoch, 0)) for epoch in range(count)]


def test_the_mask_moves_with_the_image_and_stays_binary():
    for image, mask in variations(**{param: getattr(STRONG, param) for param in GEOMETRY}):
        assert set(np.unique(mask)) <= {0, 1}
        contour = ndimage.binary_dilation(mask) ^ ndimage.binary_erosion(mask)
        assert np.array_equal((image > 127)[~contour], mask[~contour] > 0)
        assert np.count_nonzero((image > 127) != mask) < 0.06 * np.count_nonzero(mask)


@pytest.mark.parametrize("param", GEOMETRY)
def test_each_geometric_param_alone_changes_image_and_mask_and_not_every_time_alike(param):
    augmented = variations(**{param: getattr(STRONG, param)})

    assert len({image.tobytes() for image, _ in augmented}) >= (2 if param == "horizontal_flip" else 8)
    assert len({mask.tobytes() for _, mask in augmented}) >= (2 if param == "horizontal_flip" else 8)
    assert {(image.dtype, mask.dtype) for image, mask in augmented} == {(np.dtype(np.uint8), np.dtype(np.uint8))}


@pytest.mark.parametrize("param", EXPOSURE)
def test_each_exposure_param_alone_changes_the_image_and_never_the_mask(param):
    image, mask = layouts.draw_chest(0, 96, 96)[0], bright_shape()[1]
    augment = Augment(AugmentationConfig(**{param: getattr(STRONG, param)}), 96)

    augmented = [augment(image, mask, seed=(0, epoch, 0)) for epoch in range(16)]

    assert len({image.tobytes() for image, _ in augmented}) >= (2 if param in ("invert", "opacity", "lucency") else 6)
    assert all(np.array_equal(other, mask) for _, other in augmented)


def test_default_params_are_the_identity():
    image, mask = bright_shape()

    for varied_image, varied_mask in variations(4):
        assert np.array_equal(varied_image, image)
        assert np.array_equal(varied_mask, mask)


def test_transforms_are_drawn_independently():
    """Albumentations seeds the transforms of a pipeline alike: then just the flipped films would be inverted."""
    combinations = {
        (bool(mask[:, 60:75].sum() > mask[:, 20:36].sum()), bool(image[0, 0] > 127))
        for image, mask in variations(40, horizontal_flip=0.5, invert=0.5)
    }

    assert len(combinations) == 4


def center(mask: np.ndarray) -> np.ndarray:
    return np.array(ndimage.center_of_mass(mask))


def test_rotation_is_in_degrees():
    angles = []
    for _, mask in variations(60, rotation_deg=20):
        rows, columns = np.nonzero(mask)
        _, axes = np.linalg.eigh(np.cov(rows, columns))
        angles.append(np.degrees(np.arctan2(*axes[:, 1])) % 180)
    spread = np.ptp(angles)

    assert 30 < spread < 41


def test_shift_is_a_fraction_of_the_size():
    offsets = np.array([center(mask) for _, mask in variations(60, shift=0.1)]) - center(bright_shape()[1])

    assert 0.07 * 96 < np.abs(offsets).max() <= 0.1 * 96 + 0.6
    assert np.abs(offsets).max(axis=0).min() > 0.05 * 96, "both axes"


def test_scale_is_a_fraction_of_the_size():
    heights = [np.ptp(np.flatnonzero(mask.any(axis=1))) + 1 for _, mask in variations(60, scale=0.2)]

    assert 40 * 0.8 - 1 <= min(heights) < 40 * 0.88
    assert 40 * 1.12 < max(heights) <= 40 * 1.2 + 1


def test_elastic_displacement_is_a_fraction_of_the_size_and_smooth():
    steps = np.tile(np.arange(96, dtype=np.uint8), (96, 1))  # a column tells where it came from
    augment = Augment(AugmentationConfig(elastic=0.05), 96)
    inner = (slice(12, -12), slice(12, -12))  # nothing from outside

    moved = [augment(steps, steps, seed=(0, epoch, 0))[0][inner].astype(int) - steps[inner] for epoch in range(40)]

    assert 0.04 * 96 < np.abs(moved).max() <= 0.05 * 96 + 0.6
    assert max(np.abs(np.diff(field, axis=axis)).max() for field in moved for axis in (0, 1)) <= 2
    assert 8 < sum(bool(field.any()) for field in moved) < 32, "some samples stay as they are"


def test_opacities_brighten_patches_of_what_is_darker_than_soft_tissue():
    image = np.full((96, 96), 40, np.uint8)
    image[:, 60:], image[:4] = 180, 250  # a lung, soft tissue, bone
    augment = Augment(AugmentationConfig(opacity=1.0), 96)

    added = [augment(image, image, seed=(0, epoch, 0))[0].astype(int) - image for epoch in range(40)]

    for one in added:
        assert one[image == 250].max() == 0
        assert one.min() >= 0
        assert (image + one)[image == 40].max() <= 180
        assert np.abs(np.diff(one[8:, :56], axis=0)).max() < 50, "soft edges"
    covered = [np.mean(one[8:, :56] > 10) for one in added]
    assert 0.1 < np.mean(covered) < 0.8
    assert max(one.max() for one in added) > 110, "some are dense"


def test_a_tone_curve_keeps_what_is_brighter_brighter_and_some_contrast():
    steps = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    augment = Augment(AugmentationConfig(tone_curve=1.0), 256)

    curves = [augment(steps, steps, seed=(0, epoch, 0))[0][0].astype(int) for epoch in range(60)]

    assert all((np.diff(curve) >= 0).all() for curve in curves)
    assert all(curve[0] <= 0.2 * 255 and curve[-1] >= 0.8 * 255 - 1 for curve in curves)
    middles = [curve[128] for curve in curves]
    assert min(middles) < 90 < 165 < max(middles)
    assert all(np.abs(np.diff(curve)).max() < 12 for curve in curves), "no step that would draw an edge"


def test_shading_multiplies_smoothly_by_at_most_its_factor():
    grey = np.full((96, 96), 100, np.uint8)
    augment = Augment(AugmentationConfig(shading=0.4), 96)

    shaded = [augment(grey, grey, seed=(0, epoch, 0))[0].astype(int) for epoch in range(60)]

    assert 100 / 1.4 - 1 <= min(image.min() for image in shaded) < 80
    assert 125 < max(image.max() for image in shaded) <= 141
    assert all(np.abs(np.diff(image, axis=axis)).max() <= 4 for image in shaded for axis in (0, 1))
    assert 15 < sum(image.std() > 0 for image in shaded) < 45, "some samples stay as they are"
    white = np.full((96, 96), 250, np.uint8)
    assert max(augment(white, white, seed=(0, epoch, 0))[0].max() for epoch in range(10)) == 255


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("brightness", (100 - 0.2 * 255, 100 + 0.2 * 255)),
        ("contrast", (100 * 0.8, 100 * 1.2)),
        ("gamma", (255 * (100 / 255) ** 1.2, 255 * (100 / 255) ** 0.8)),
    ],
)
def test_exposure_params_reach_both_ends_of_their_range(param, expected):
    grey = np.full((8, 8), 100, np.uint8)
    augment = Augment(AugmentationConfig(**{param: 0.2}), 8)

    levels = [float(augment(grey, grey, seed=(0, epoch, 0))[0].mean()) for epoch in range(150)]

    span = expected[1] - expected[0]
    assert expected[0] - 1 <= min(levels) < expected[0] + 0.05 * span
    assert expected[1] - 0.05 * span < max(levels) <= expected[1] + 1
    assert np.mean(levels) == pytest.approx(100, abs=0.1 * span)


def test_noise_is_a_fraction_of_white_at_most():
    grey = np.full((64, 64), 128, np.uint8)
    augment = Augment(AugmentationConfig(noise=0.1), 64)

    deviations = [augment(grey, grey, seed=(0, epoch, 0))[0].std() for epoch in range(60)]

    assert 0.085 * 255 < max(deviations) < 0.105 * 255
    assert min(deviations) == 0, "some samples stay clean"


def test_blur_has_at_most_its_standard_deviation_in_pixels():
    point = np.zeros((65, 65), np.uint8)
    point[32, :] = 255  # a line: its blurred profile is the kernel
    augment = Augment(AugmentationConfig(blur_px=3), 65)
    profiles = [augment(point, point, seed=(0, epoch, 0))[0][:, 32].astype(float) for epoch in range(60)]

    sigmas = [np.sqrt((profile * (np.arange(65) - 32) ** 2).sum() / profile.sum()) for profile in profiles]

    assert 2.5 < max(sigmas) < 3.1
    assert min(sigmas) == 0, "some samples stay sharp"


@pytest.mark.parametrize(("param", "share"), [("horizontal_flip", 0.3), ("invert", 0.7), ("tone_curve", 0.4)])
def test_flip_inversion_and_tone_curve_are_probabilities(param, share):
    image, _ = bright_shape()

    changed = [not np.array_equal(augmented, image) for augmented, _ in variations(200, **{param: share})]

    assert np.mean(changed) == pytest.approx(share, abs=0.1)


def test_a_lucency_darkens_towards_the_lungs_and_mostly_below_them():
    image = np.full((96, 96), 200, np.uint8)
    image[10:60, 20:80] = 50  # the lungs: a third of the image

    change = np.zeros((96, 96))
    for number in range(50):
        darkened, mask = Augment(AugmentationConfig(lucency=1.0), 96)(
            image.copy(), (image == 50) * np.uint8(1), (number,)
        )
        assert np.array_equal(mask, image == 50)
        assert (darkened <= image).all()
        assert darkened.min() == 50, "nothing becomes darker than the lungs"
        change += image - darkened.astype(float)

    assert change[image == 50].sum() == 0
    assert change[60:].sum() > 4 * change[:36].sum()


def test_other_phantoms_are_added_to_the_cases_in_each_epoch(prepared: DataConfig) -> None:
    data = make_datamodule(prepared, synthetic_per_epoch=4, phantom=PhantomConfig(cases=10), batch_size=5)
    cases = {number for number, row in enumerate(data.rows) if row.split == "train"}
    drawn = [order(epoch) for epoch in epochs(data, 3)]
    assert all(len(rows) == len(set(rows)) == 15 and cases < set(rows) for rows in drawn)
    beside = [set(rows) - cases for rows in drawn]
    assert not beside[0] & beside[1]
    assert set.union(*beside) == set(range(16, 26))
    assert data.case_id(16) == data.phantoms.rows[0].case_id


def test_added_phantoms_are_neither_validated_nor_tested(prepared: DataConfig) -> None:
    alone, beside = (
        make_datamodule(prepared),
        make_datamodule(prepared, synthetic_per_epoch=4, phantom=PhantomConfig(cases=10)),
    )
    for loader in ("val_dataloader", "test_dataloader"):
        theirs, ours = ([batch.row.tolist() for batch in getattr(module, loader)()] for module in (alone, beside))
        assert theirs == ours
    one, other = alone.state_dict(), beside.state_dict()
    seen = [set(state["identities"].pop("train")) for state in (one, other)]
    assert seen[1] - seen[0] == {row.raw_sha256 for row in beside.phantoms.rows}
    assert one == other
