"""Several processes prepare parts of a set, which are the same together as one made alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Run


def test_shards_make_the_set_that_one_process_makes(workplace: Path, run: Run) -> None:
    few = ("data=montgomery", "data.raw_dir=raw", "data.image_size_px=16", "data.test_cases=5")
    assert run("prepare_data", *few, "data.prepared_dir=whole").code == 0
    for number in (3, 1, 2):
        outcome = run("prepare_data", *few, "data.prepared_dir=shared", f"shard={number}/3")
        assert outcome.code == 0, outcome.err
        assert f"Shard {number}/3: {7 if number < 3 else 6} cases in shared/montgomery-16." in outcome.out + outcome.err
    whole, shared = (workplace / name / "montgomery-16" for name in ("whole", "shared"))
    assert not (shared / "manifest.csv").exists()
    prepared_at = {path: path.stat().st_mtime_ns for path in shared.glob("*/*.png")}
    assert len(prepared_at) == 60

    assert run("prepare_data", *few, "data.prepared_dir=shared").code == 0

    assert {path: path.stat().st_mtime_ns for path in shared.glob("*/*.png")} == prepared_at
    names = [path.relative_to(whole) for path in whole.rglob("[!.]*") if path.is_file()]
    assert len(names) == 64
    assert all((whole / name).read_bytes() == (shared / name).read_bytes() for name in names)
    assert not list(shared.glob("*.jsonl"))


def test_a_shard_is_not_checked(workplace: Path, run: Run) -> None:
    outcome = run("prepare_data", "data=montgomery", "data.raw_dir=raw", "shard=1/2", "check=true")
    assert outcome.code == 2
    assert "does not go with check=true" in outcome.err


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b"])
def test_a_shard_that_is_none_is_refused(workplace: Path, run: Run, shard: str) -> None:
    outcome = run("prepare_data", "data=montgomery", "data.raw_dir=raw", f"shard={shard}")
    assert outcome.code == 2
    assert f"shard={shard} must be two numbers such as 3/16" in outcome.err


def test_a_shard_downloads_first(workplace: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setattr("lung_seg.raw.download.download", lambda source, _: fetched.append(source))
    small = ("data=montgomery", "data.raw_dir=raw", "data.image_size_px=16", "shard=1/10")
    assert run("prepare_data", *small, "data.download=true").code == 0
    assert fetched == ["montgomery"]


def test_preparing_imports_what_downloads_only_to_download() -> None:
    code = "import sys, lung_seg.prepared.prepare, lung_seg.prepared.pixel_cache; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    imported = set(ended.stdout.split())
    assert "lung_seg.prepared.prepare" in imported
    assert not {"pooch", "requests"} & imported
