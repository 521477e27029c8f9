"""Phantoms: drawn radiographs, written once in the layout of the Montgomery set and read as such."""

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
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
from lung_seg.raw.sources import montgomery

ASPECT = 4892 / 4020  # of the films of the Montgomery set, portrait or landscape
LANDSCAPE = 0.28  # share of landscape films: 31 of 110
PHANTOMS_PER_PROCESS = 50  # fewer are drawn in less time than a process starts


@dataclass(frozen=True)
class Drawing:
    """A phantom still to be drawn."""

    folder: Path
    number: int
    seed: int
    size_px: int


def find_cases(raw_dir: Path, phantom: PhantomConfig) -> Listing:
    """The first ``phantom.cases`` phantoms of a seed and size; those not on disk yet are drawn.

    A phantom depends on its number, seed and size only: asking for more keeps the earlier ones.
    """
    folder = raw_dir / f"phantom-v{VERSION}-{phantom.size_px}-seed{phantom.seed}" / "MontgomerySet"
    wanted = {_name(number): number for number in range(1, phantom.cases + 1)}
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        drawn = {_without_label(path.stem) for path in (folder / "CXR_png").glob("MCUCXR_*.png")}
        missing = [number for name, number in wanted.items() if name not in drawn]
        if missing:
            draw_all([Drawing(folder, number, phantom.seed, phantom.size_px) for number in missing])
    found = montgomery.find_cases(folder)
    cases = [
        replace(case, source="phantom", patient_id=case.case_id)
        for case in found.cases
        if _without_label(case.case_id) in wanted
    ]
    return Listing(cases)


def draw_all(drawings: list[Drawing]) -> None:
    """Draw and write phantoms on all cores, with a progress bar."""
    processes = min(usable_cores(), len(drawings) // PHANTOMS_PER_PROCESS)
    if processes < 2:
        _wait_for(map(draw, drawings), len(drawings))
        return
    spawn = multiprocessing.get_context("spawn")  # forking a process that runs torch's threads may hang
    with ProcessPoolExecutor(processes, spawn, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        _wait_for(pool.map(draw, drawings, chunksize=8), len(drawings))


def draw(drawing: Drawing) -> None:
    """Draw one phantom and write its masks, then its radiograph: what has a radiograph is complete."""
    rng = np.random.default_rng((drawing.seed, drawing.number))
    aspect = ASPECT if rng.random() < LANDSCAPE else 1 / ASPECT
    width_px = round(drawing.size_px * aspect * rng.uniform(0.9, 1.1))
    phantom = draw_phantom(int(rng.integers(2**63)), drawing.size_px, width_px)
    name = f"{_name(drawing.number)}_{phantom.tb_label}.png"
    write_png(drawing.folder / "ManualMask" / "rightMask" / name, phantom.right_mask.astype(np.uint8) * 255)
    write_png(drawing.folder / "ManualMask" / "leftMask" / name, phantom.left_mask.astype(np.uint8) * 255)
    write_png(drawing.folder / "CXR_png" / name, phantom.image)


def _name(number: int) -> str:
    return f"MCUCXR_{number:04d}"


def _without_label(stem: str) -> str:
    return stem.rpartition("_")[0]


def _wait_for(results: Iterable[None], total: int) -> None:
    for _ in tqdm(results, "Drawing phantoms", total, unit="", disable=None):
        pass
