"""Learning from corrections: the settings of the training, both networks side by side, and what is said of few."""

import csv
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from lung_seg.model.checkpoint import load_network
from lung_seg.page import learning
from lung_seg.page.comparison import Comparison, compare
from lung_seg.page.corrections import Corrections
from lung_seg.page.learning import EPOCHS, Learning, remove_outdated
from lung_seg.raw.radiograph import Radiograph
from tests.conftest import Run
from tests.layouts import draw_chest, write_folder, write_image
from tests.page.conftest import NETWORK, OpenPage, Page

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "page.md").read_text(encoding="utf-8")


def correct(folder: Path | str, count: int) -> None:
    """Corrections of films that the network has not seen, as the page saves them."""
    corrections = Corrections(Path(folder))
    for number in range(count):
        image, right, left = draw_chest(700 + number, 96, 80)
        path = Path("corrected") / f"{chr(97 + number)}.png"
        write_image(path, image)
        after = right.astype(np.uint8) + 2 * left.astype(np.uint8)
        corrections.save(path.stem, path, Radiograph(image), np.roll(after, 9, axis=0), after, 1.0, "5dd51b74")


def in_process(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run inside this process: starting Python twice takes most of the time."""

    def execute(_: Learning, command: str, arguments: list[str], run_dir: Path) -> None:
        options = [] if command == "evaluate" else ["trainer.log_every_n_steps=1", "data.batch_size=4"]
        done = run(command, *arguments, *options, "trainer=cpu")
        assert done.code == 0, done.err

    monkeypatch.setattr(Learning, "_execute", execute)


def finished(page: Page) -> dict[str, Any]:
    for _ in range(600):
        progress: dict[str, Any] = page.client.get("/api/learning").json()
        if progress["state"] != "running":
            return progress
        time.sleep(0.1)
    raise TimeoutError(progress)


def small_phantoms(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Learning.command
    few = ["data.phantom.cases=12", "data.phantom.size_px=64", "data.synthetic_per_epoch=8"]
    monkeypatch.setattr(Learning, "command", lambda *arguments: [*command(*arguments), *few])


def test_a_training_on_corrections_is_compared_used_and_taken_back(
    films: Path, open_page: OpenPage, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(run, monkeypatch)
    small_phantoms(monkeypatch)
    correct("out/corrections", 10)
    page = open_page()
    old = page.load()["network"]
    assert page.post("/api/learning", mix="phantom", epochs=1).json()["state"] == "running"
    progress = finished(page)
    assert progress["state"] == "finished", progress["message"]
    comparison = progress["comparison"]
    assert comparison["films"] == 2  # a quarter of ten
    assert progress["message"] == comparison["text"]
    assert "On 2 corrected films put aside" in comparison["text"]
    (run_dir,) = (path.parent for path in Path("out/learning").glob("*/summary.json"))
    with (run_dir / "cases.csv").open(newline="", encoding="utf-8") as file:
        scores = [float(row["delivered_dice"]) for row in csv.DictReader(file)]
    assert comparison["new"]["dice"] == pytest.approx(np.mean(scores), abs=1e-4)
    assert page.load()["network"] == old  # the user chooses

    new = page.post("/api/learning/use").json()["network"]
    assert new["hash"] != old["hash"]
    assert all(film["state"] != "waiting" for film in page.films())
    assert open_page().load()["network"] == new  # after a new start, too
    assert page.post("/api/learning/use?back=true").json()["network"] == old
    assert open_page().load()["network"] == old

    weights = Path(NETWORK, "checkpoints/best.ckpt"), Path(comparison["weights"])
    before, after = (load_network(path)[1]["ranges"] for path in weights)
    for name, (low, high) in before.items():  # else a few corrections would make every other film suspicious
        assert after[name][0] <= low
        assert after[name][1] >= high


def test_the_users_own_set_is_learned_from_and_compared_apart(
    films: Path, open_page: OpenPage, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(run, monkeypatch)
    correct("out/corrections", 5)
    write_folder(Path("own, set"), cases=12)
    for mask in Path("own, set/masks").iterdir():
        mask.rename(mask.with_stem(mask.stem.removesuffix("_mask")))
    page = open_page()
    page.post("/api/learning", mix="own, set", epochs=1)
    progress = finished(page)
    assert progress["state"] == "finished", progress["message"]
    assert "On 1 corrected film put aside" in progress["message"]
    assert "of your own set from" in progress["message"]


def test_corrections_are_a_data_set_like_any_folder(films: Path, run: Run) -> None:
    correct("corrections", 6)
    done = run("prepare_data", "data=folder", "data.name=x", "data.raw_dir=corrections", "data.image_size_px=32")
    assert done.code == 0, done.err
    assert "Prepared 6 cases" in done.err + done.out
    prepared = np.asarray(Image.open("data/segmentation/x-32/original_masks/a.png"))
    _, right, left = draw_chest(700, 96, 80)
    assert ((prepared > 0) == (right | left)).all()


def test_the_command_of_the_docs_trains_on_corrections(films: Path, run: Run) -> None:
    command = re.findall(r"^python train\.py (experiment=corrections .*)", PAGE, re.MULTILINE)[0].split()
    correct("runs/serve/corrections", 6)
    weights = str(ROOT / "lung_seg" / "weights" / "lungs.safetensors")
    words = [word.replace("lung_seg/weights/lungs.safetensors", weights) for word in command]
    small = ("data.image_size_px=32", "data.synthetic_per_epoch=0", "data.batch_size=2", "trainer.max_epochs=1")
    done = run("train", *words, *small, "trainer=cpu", "trainer.enable_progress_bar=false", "hydra.run.dir=runs/new")
    assert done.code == 0, done.err
    assert "on 3 radiographs, 1 epoch" in done.out
    assert Path("runs/new/checkpoints/best.ckpt").is_file()


def test_a_correction_that_is_taken_back_does_not_stop_the_next_training(films: Path, run: Run) -> None:
    correct("out/corrections", 6)
    corrections = Corrections(Path("out/corrections"))
    folders = ("data.raw_dir=out/corrections", "data.prepared_dir=out/data", "data.image_size_px=32")
    assert run("prepare_data", "data=corrections", *folders).code == 0
    remove_outdated(Path("out/data"), corrections)
    assert len(list(Path("out/data").glob("*/manifest.csv"))) == 1
    corrections.remove("b")
    remove_outdated(Path("out/data"), corrections)  # a prepared set refuses to lose cases
    assert run("prepare_data", "data=corrections", *folders).code == 0


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "There are no corrections; learning needs at least 5"),
        (1, "There is 1 correction; learning needs at least 5"),
        (2, "There are 2 corrections; learning needs at least 5"),
    ],
)
def test_with_few_corrections_it_says_how_many_are_missing(
    films: Path, open_page: OpenPage, count: int, said: str
) -> None:
    correct("out/corrections", count)
    answer = open_page().post("/api/learning", mix="phantom")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)
    assert f"Correct {5 - count} more" in answer.json()["error"]


def test_wrong_requests_are_refused_in_words(films: Path, open_page: OpenPage) -> None:
    correct("out/corrections", 5)
    page = open_page()
    assert page.post("/api/learning", mix="nowhere").json()["error"].startswith("nowhere is not a folder.")
    assert page.post("/api/learning", mix="phantom", epochs=0).status_code == 422
    assert page.post("/api/learning/use").json()["error"].startswith("There is no learned network")


def test_a_failed_training_says_why_and_a_stopped_one_leaves_the_network(
    films: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "POLL_S", 0.05)
    correct("out/corrections", 5)
    page = open_page()
    old = page.load()["network"]
    command = Learning.command
    monkeypatch.setattr(Learning, "command", lambda *arguments: [*command(*arguments), "data.batch_sise=4"])
    page.post("/api/learning", mix="phantom")
    failed = finished(page)
    assert failed["state"] == "failed"
    assert "data.batch_sise" in failed["message"]
    assert "Traceback" not in failed["message"]
    page.post("/api/learning", mix="phantom")
    assert page.post("/api/learning", mix="phantom").json()["error"].startswith("A training is running already.")
    assert page.client.delete("/api/learning", headers=page.headers).json()["state"] == "stopped"
    assert finished(page)["message"] == "Stopped. The network in use is the one of before."
    assert page.load()["network"] == old


def side_by_side(gains: list[float], added: list[float] = ()) -> Comparison:
    old, old_added = np.full(len(gains), 0.9), np.full(len(added), 0.95)
    return Comparison(old, old + gains, old_added, old_added + added)


def test_what_is_said_of_both_networks() -> None:
    better, worse = [0.02, 0.03, 0.01, 0.02, 0.04, 0.02], [-0.02, -0.03, -0.01, -0.02, -0.04, -0.02]
    assert side_by_side(better).helps
    assert side_by_side(better).text.startswith("On 6 corrected films put aside the Dice goes from 0.9000 to 0.9233")
    assert "helps on films like these" in side_by_side(better).text
    for comparison, said in (
        (side_by_side(worse), "The new network is worse: keep the old one."),
        (side_by_side([0.05, -0.05, 0.04, -0.04, 0.01, 0.0]), "the difference may be chance. Keep the old one."),
        (side_by_side(better, worse), "it has become worse on your own set: keep the old one."),
        (side_by_side([0.05]), "So few films say next to nothing"),
    ):
        assert not comparison.helps
        assert said in comparison.text


def test_only_cases_that_both_have_scored_are_compared(tmp_path: Path) -> None:
    old, new = "a,folder,0.5\nb,folder,0.7\nc,added,0.9\n", "b,folder,0.8\nc,added,0.9\n"
    for name, rows in (("old", old), ("new", new)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cases.csv").write_text(f"case_id,source,delivered_dice\n{rows}", encoding="utf-8")
    compared = compare(tmp_path / "old", tmp_path / "new")
    assert (compared.old.tolist(), compared.new.tolist(), compared.old_added.tolist()) == ([0.7], [0.8], [0.9])


def test_the_page_trains_as_long_as_the_command() -> None:
    assert yaml.safe_load((ROOT / "conf/data/corrections.yaml").read_text(encoding="utf-8"))["epochs"] == EPOCHS
