"""Raw files and prepared sets in folders that cannot be written to, as clusters and Kaggle offer them."""

import ctypes
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SMALL, Outcome, Run, fork

NEW_MOUNTS, BIND, READ_ONLY, PRIVATE = 0x20000, 0x1000, 0x1000 | 0x20 | 0x1, 0x4000 | 0x40000  # as Linux numbers them
DATA = [argument for argument in SMALL if argument.startswith("data") and "batch" not in argument]
SET = Path("data/segmentation/montgomery-32")
CANNOT = 77

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="makes folders read-only as Linux does")


def make_read_only(folder: Path) -> None:
    """Keep this process from writing into a folder; root, to whom rights mean nothing, by a mount of its own."""
    if os.geteuid() == 0:
        libc, path = ctypes.CDLL(None), os.fsencode(folder.absolute())
        libc.mount(path, path, None, BIND, None)
        libc.mount(None, path, None, READ_ONLY, None)
    else:
        for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            place.chmod(0o555)
    if os.access(folder, os.W_OK):
        os._exit(CANNOT)


@pytest.fixture
def run_read_only(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a script where raw and prepared files are read-only."""

    def script(name: str, *arguments: str) -> None:
        if os.geteuid() == 0:
            libc = ctypes.CDLL(None)
            libc.unshare(NEW_MOUNTS)
            libc.mount(b"none", b"/", None, PRIVATE, None)
        for folder in (Path("raw"), Path("data")):
            make_read_only(folder)
        sys.argv = [f"{name}.py", *arguments]
        importlib.import_module(name).main()

    def run_script(name: str, *arguments: str) -> Outcome:
        capfd.readouterr()
        code = os.waitstatus_to_exitcode(os.waitpid(fork(lambda: script(name, *arguments)), 0)[1])
        if code == CANNOT:
            pytest.skip("root may write everywhere, and here it may not mount anything read-only")
        return Outcome(code, *capfd.readouterr())

    return run_script


def test_a_set_that_was_prepared_trains_where_it_is_read_only(workplace: Path, run: Run, run_read_only: Run) -> None:
    assert run("prepare_data", *DATA).code == 0

    trained = run_read_only("train", *SMALL, "trainer.max_epochs=1", "hydra.run.dir=runs/one")
    assert trained.code == 0, trained.err
    assert "is up to date" in trained.out
    assert (workplace / "runs/one/report.html").is_file()


def test_a_set_that_was_never_packed_is_refused_where_it_is_read_only(
    workplace: Path, run: Run, run_read_only: Run
) -> None:
    assert run("prepare_data", *DATA).code == 0
    next(SET.glob("pixels-*")).unlink()

    refused = run_read_only("train", *SMALL, "hydra.run.dir=runs/one")

    assert refused.code == 2
    assert len(refused.err.splitlines()) == 2
    assert "montgomery-32 is read-only and has no pixel cache" in refused.err
    assert "data.prepared_dir=" in refused.err
