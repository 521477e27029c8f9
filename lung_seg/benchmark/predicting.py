"""Films to masks, by the weights that ship."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lung_seg.benchmark.preparing import film_cases
from lung_seg.benchmark.turns import Figure, take_turns
from lung_seg.config import BenchmarkConfig, PredictConfig
from lung_seg.cores import usable_cores
from lung_seg.data.image_file import Grey
from lung_seg.data.radiograph import read_radiograph
from lung_seg.export import export
from lung_seg.prediction import predict
from lung_seg.predictor import SHIPPED, Predictor
from lung_seg.runtime import OnnxRuntime, Runtime


def measure_predicting(config: BenchmarkConfig) -> list[Figure]:
    """The network alone, by each runtime that is installed, and films from file to file; each core has its own."""
    predictor = Predictor(threads=1)
    films = [case.image_path for case in film_cases(config)]
    square = predictor.to_square(read_radiograph(films[0]))
    with TemporaryDirectory() as folder:
        runtimes: dict[str, Runtime] = {"PyTorch": predictor.runtimes[0]}
        if find_spec("onnx") and find_spec("onnxruntime") and find_spec("onnxscript"):
            (file,) = export(SHIPPED, Path(folder), ["onnx"], half=False)
            runtimes["onnxruntime"] = OnnxRuntime(file.path, threads=1)
        contestants: dict[str, Callable[[], float]] = {
            f"predicting: the network by {name}": partial(_on_all_cores, runtime, square, config.seconds)
            for name, runtime in runtimes.items()
        }
        contestants["predicting a film, from file to file"] = partial(_from_file_to_file, films, Path(folder) / "masks")
        return take_turns("ms", contestants, config.rounds)


def _on_all_cores(runtime: Runtime, square: Grey, seconds: float) -> float:
    """Milliseconds for each radiograph that the cores together send through a network, in batches as it likes."""
    squares = np.stack([square] * runtime.best_batch_size)
    cores, started = usable_cores(), time.perf_counter()

    def predicted_by_one(_: int) -> int:
        done = 0
        while time.perf_counter() - started < seconds:
            runtime(squares)
            done += len(squares)
        return done

    with ThreadPoolExecutor(cores) as pool:
        predicted = sum(pool.map(predicted_by_one, range(cores)))
    return 1e3 * (time.perf_counter() - started) / predicted


def _from_file_to_file(films: list[Path], output: Path) -> float:
    started = time.perf_counter()
    with redirect_stderr(StringIO()):  # its progress bar
        predict(PredictConfig(input=str(films[0].parent), output=str(output)), output)
    return 1e3 * (time.perf_counter() - started) / len(films)
