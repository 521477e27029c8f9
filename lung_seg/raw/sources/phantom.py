"""Phantoms: drawn radiographs, written once in the layout of the Montgomery set and read like it."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from lung_seg.config import PhantomConfig
from lung_seg.environment import usable_cores
from lung_seg.files import locked
from lung_seg.raw.case import Listing
from lung_seg.raw.image_file import write_png
from lung_seg.raw.phantom.draw_phantom import VERSION, draw_phantom
from lung_seg.raw.sources import nlm

ASPECT = 4892 / 4020  # of the radiographs of the Montgomery set, portrait or landscape
LANDSCAPE = 0.28  # share of landscape radiographs: 31 of 110
PHANTOMS_PER_PROCESS = 50  # fewer take less time than the start of a process


def find_cases(raw_dir: Path, phantom: PhantomConfig) -> Listing:
    """The first ``phantom.cases`` phantoms of a seed and size; missing ones are drawn.

    A phantom depends on its number, seed and size only: requesting more keeps the earlier ones.
    """
    folder = raw_dir / f"phantom-v{VERSION}-{phantom.size_px}-seed{phantom.seed}" / "MontgomerySet"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        drawn = {_number(path.stem) for path in (folder / "CXR_png").glob("MCUCXR_*.png")}
        missing = [number for number in range(1, phantom.cases + 1) if number not in drawn]
        if missing:
            _draw_all(folder, phantom, missing)
    cases = [case for case in nlm.find_montgomery(folder).cases if _number(case.case_id) <= phantom.cases]
    return Listing([replace(case, source="phantom", patient_id=case.case_id) for case in cases])


def _draw_all(folder: Path, phantom: PhantomConfig, numbers: list[int]) -> None:
    draw = partial(_draw, folder, phantom.seed, phantom.size_px)
    progress = partial(tqdm, desc="Drawing phantoms", total=len(numbers), unit="", disable=None)
    processes = min(usable_cores(), len(numbers) // PHANTOMS_PER_PROCESS)
    if processes < 2:
        list(progress(map(draw, numbers)))
        return
    spawn = multiprocessing.get_context("spawn")  # forking a process that runs torch's threads may hang
    with ProcessPoolExecutor(processes, spawn, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        list(progress(pool.map(draw, numbers, chunksize=8)))


def _draw(folder: Path, seed: int, size_px: int, number: int) -> None:
    """Draw one phantom and write its masks, then its radiograph: a phantom with a radiograph is complete."""
    rng = np.random.default_rng((seed, number))
    aspect = ASPECT if rng.random() < LANDSCAPE else 1 / ASPECT
    width_px = round(size_px * aspect * rng.uniform(0.9, 1.1))
    phantom = draw_phantom(int(rng.integers(2**63)), size_px, width_px)
    name = f"MCUCXR_{number:04d}_{phantom.tb_label}.png"
    write_png(folder / "ManualMask" / "rightMask" / name, phantom.right_mask.astype(np.uint8) * 255)
    write_png(folder / "ManualMask" / "leftMask" / name, phantom.left_mask.astype(np.uint8) * 255)
    write_png(folder / "CXR_png" / name, phantom.image)


def _number(case_id: str) -> int:
    return int(case_id.split("_")[1])
