"""Arguments that a command reads itself before Hydra does."""

from pathlib import Path

import pytest

from lung_seg.cli.arguments import checked_arguments
from tests.conftest import Run
from tests.layouts import draw_chest, write_image


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["xray.png"], ["input=xray.png"]),
        (["flip=true", "xray.png", "output=masks"], ["flip=true", "input=xray.png", "output=masks"]),
        (["--multirun", "xray.png", "seed=0,1"], ["--multirun", "input=xray.png", "seed=0,1"]),
        (["a.png", "b.png"], ["input=a.png", "b.png"]),
        (["--cfg", "job"], ["--cfg", "job"]),
        (["-cn", "other", "xray.png"], ["-cn", "other", "input=xray.png"]),
        (["~optimizer.weight_decay"], ["~optimizer.weight_decay"]),
        (["+data.colour=red"], ["+data.colour=red"]),
        ([], []),
    ],
    ids=" ".join,
)
def test_the_first_argument_without_a_key_sets_the_main_key(arguments: list[str], expected: list[str]) -> None:
    assert checked_arguments(arguments, "input", []) == expected


def test_several_files_that_a_shell_expanded_are_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.png").touch()
    outcome = run("predict", "a.png", "b.png")
    assert outcome.code == 2
    assert outcome.err.splitlines()[0] == "b.png is not of the form key=value."
    assert "as a pattern in quotes: 'films/*.png'" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=jsrt", "--multirun", "seed=0,1"], ["--multirun", "data=jsrt", "seed=0,1"]),
        (["seed=1", "--cfg", "job", "data=jsrt"], ["--cfg", "job", "seed=1", "data=jsrt"]),
        (["--cfg=job", "data=jsrt"], ["--cfg=job", "data=jsrt"]),
        (["--info", "data=jsrt", "-m"], ["--info", "-m", "data=jsrt"]),
    ],
    ids=" ".join,
)
def test_options_stand_before_the_settings(arguments: list[str], expected: list[str]) -> None:
    assert checked_arguments(arguments, "data", []) == expected


def test_a_file_to_predict_needs_no_key(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "Zoë's film, [2].png", draw_chest(1, 60, 50)[0])
    outcome = run("predict", "Zoë's film, [2].png", "output=masks")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "masks" / "Zoë's film, [2]_mask.png").is_file()


def test_the_configuration_can_be_printed(run: Run) -> None:
    outcome = run("train", "seed=1", "--cfg", "job", "data=phantom")
    assert outcome.code == 0, outcome.err
    assert "image_size_px: 96" in outcome.out
