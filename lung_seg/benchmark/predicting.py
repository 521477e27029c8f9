"""Films to masks, by the weights that ship."""

import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from importlib.util import find_spec
from io import StringIO
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory

from lung_seg.benchmark.preparing import film_cases
from lung_seg.benchmark.turns import Figure, seconds_each, take_turns
from lung_seg.config import BenchmarkConfig, PredictConfig
from lung_seg.data.radiograph import read_radiograph
from lung_seg.export import export
from lung_seg.prediction import predict
from lung_seg.predictor import SHIPPED, Predictor
from lung_seg.runtime import Logits, OnnxRuntime, Runtime, Squares


def measure_predicting(config: BenchmarkConfig) -> list[Figure]:
    """The network alone, by each runtime that is installed, and films from file to file."""
    predictor = Predictor()
    films = [case.image_path for case in film_cases(config)]
    square = predictor.to_square(read_radiograph(films[0]))[None]
    with TemporaryDirectory() as folder:
        runtimes: dict[str, Runtime] = {"PyTorch": predictor.runtimes[0]}
        if find_spec("onnx") and find_spec("onnxruntime") and find_spec("onnxscript"):
            (file,) = export(SHIPPED, Path(folder), ["onnx"], half=False)
            runtimes["onnxruntime"] = OnnxRuntime(file.path)
        contestants: dict[str, Callable[[], float]] = {
            f"predicting: the network by {name}": partial(_milliseconds, _runs(runtime, square), config.seconds)
            for name, runtime in runtimes.items()
        }
        contestants["predicting a film, from file to file"] = partial(_from_file_to_file, films, Path(folder) / "masks")
        return take_turns("ms", contestants, config.rounds)


def _runs(runtime: Runtime, square: Squares) -> Iterator[Logits]:
    return map(runtime, repeat(square))


def _milliseconds(steps: Iterator[Logits], seconds: float) -> float:
    next(steps)  # the first after another runtime's turn finds cold caches
    return 1e3 * seconds_each(steps, seconds)


def _from_file_to_file(films: list[Path], output: Path) -> float:
    started = time.perf_counter()
    with redirect_stderr(StringIO()):  # its progress bar
        predict(PredictConfig(input=str(films[0].parent), output=str(output)), output)
    return 1e3 * (time.perf_counter() - started) / len(films)
