"""The network in use, and the threads that predict with it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from lung_seg.config import ServeConfig
from lung_seg.environment import usable_cores
from lung_seg.prediction.batch import made_by
from lung_seg.prediction.predictor import Prediction, Predictor, SecondStep
from lung_seg.prediction.table import Row
from lung_seg.raw.decoding import Decoders
from lung_seg.raw.image_file import Grey
from lung_seg.raw.radiograph import FullDepth, Radiograph, open_full_depth, open_radiograph

MAX_WAITING = 256  # radiographs of POST /predict that may wait; more are refused until some are done

ResultT = TypeVar("ResultT")


class BusyError(Exception):
    """More radiographs wait than the server accepts."""


class Network:
    """The predictor in use, replaceable while the server runs, and a bounded queue before it."""

    def __init__(self, config: ServeConfig, second_step: SecondStep | None):
        self.settings = config.prediction
        self.second_step = second_step
        self.workers = usable_cores()
        self.decoders = Decoders(self.workers, self.settings.max_megapixels)
        self._pool = ThreadPoolExecutor(self.workers, "predict")
        self._waiting = 0
        self._lock = threading.Lock()
        self.use(self.settings.checkpoints)

    def use(self, checkpoints: list[str]) -> None:
        """Predict with other weights from now on; none: the shipped ones."""
        predictor = Predictor(
            *checkpoints,
            inverted=self.settings.inverted,
            window=self.settings.window,
            device=self.settings.device,
            max_megapixels=self.settings.max_megapixels,
            threads=1,  # one radiograph per core
            second_step=self.second_step,
        )
        self.checkpoints, self.predictor = checkpoints, predictor
        self.origin: Row = made_by(predictor, self.settings)

    @property
    def name(self) -> str:
        """The files of weights, without their folders."""
        return " ".join(backend.path.name for backend in self.predictor.backends)

    @property
    def digest(self) -> str:
        """The beginning of the weights' SHA-256."""
        return str(self.origin["weights"])

    def open(self, path: Path) -> Radiograph:
        """Read a radiograph with the server's settings; a UserError if it is none."""
        settings = self.settings
        inverted, max_megapixels, window = settings.inverted, settings.max_megapixels, settings.window
        return self.decoders.run(path, open_radiograph, path, inverted, max_megapixels, window)

    def open_full_depth(self, path: Path, grey: Grey) -> FullDepth:
        """The grey values of its own depth of a radiograph that is opened as ``grey``."""
        inverted, max_megapixels = self.settings.inverted, self.settings.max_megapixels
        return self.decoders.run(path, open_full_depth, path, grey, inverted, max_megapixels)

    def predict(self, radiograph: Radiograph) -> Prediction:
        """The lungs of a radiograph."""
        network_input = self.predictor.to_network_input(radiograph.pixels, radiograph.mirrored)
        (probability,) = self.predictor.probabilities([network_input])
        return self.predictor.finish(radiograph, network_input, probability)

    async def run(self, function: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Run a prediction in the pool, as soon as a thread is free.

        Raises:
            BusyError: too many are waiting already.
        """
        with self._lock:
            if self._waiting >= MAX_WAITING:
                raise BusyError(f"{MAX_WAITING} radiographs are waiting already.\nTry again in a few seconds.")
            self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
        finally:
            with self._lock:
                self._waiting -= 1

    def close(self) -> None:
        """Stop the threads; what is being predicted is finished."""
        self._pool.shutdown(cancel_futures=True)
        self.decoders.close()
