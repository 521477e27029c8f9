"""Run directories that somebody else wrote: a resume runs none of their code."""

import shlex
from pathlib import Path

import pytest

from lung_seg.cli.resume import resumed_arguments
from lung_seg.errors import UserError
from tests.conftest import Run


def run_dir(folder: Path, overrides: str) -> Path:
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(overrides)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "+hydra.callbacks.x._target_=numpy.load",
        "hydra.searchpath=[/tmp]",
        "hydra/launcher=basic",
        "+optimizer@hydra.callbacks.x=adamw",
        "optimizer._target_=os.system",
        "optimizer={_target_:os.system}",
        "+optimizer.x={_target_:os.system}",
        "+optimizer.x._target_=os.system",
        "optimizer.lr=${x}",
        "+optimizer._args_=[1]",
        "scheduler._target_=torch.hub.load",
        "experiment=../../x",
        "experiment=/tmp/x",
    ],
)
def test_a_saved_setting_that_could_run_code_is_refused(tmp_path: Path, line: str) -> None:
    folder = run_dir(tmp_path, f"- seed=1\n- '{line}'\n")
    with pytest.raises(UserError, match=r"overrides\.yaml has .* could run code"):
        resumed_arguments([f"resume={folder}"])


@pytest.mark.parametrize(
    "text",
    [
        "- &a [x,x]\n- &b [*a,*a]\n",
        "- &a x\n- *a\n",
        "- !!python/object/apply:os.system [ls]\n",
        "a: b\n",
        "- [",
        "- !!binary aGk=\n",
        "\0",
    ],
)
def test_yaml_that_is_no_list_of_texts_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"overrides\.yaml is no list of settings"):
        resumed_arguments([f"resume={run_dir(tmp_path, text)}"])


def test_usual_settings_are_resumed(tmp_path: Path) -> None:
    lines = [
        *("seed=1", "data=montgomery", "experiment=[a,b_c]", "~optimizer.weight_decay", "augmentation=strong"),
        *("optimizer.lr=1e-3", "+optimizer.betas=[0.9,0.99]", "optimizer._target_=torch.optim.SGD"),
        *("scheduler=none", "scheduler._target_=torch.optim.lr_scheduler.LinearLR", "data.raw_dir='a b'"),
    ]
    folder = run_dir(tmp_path, "".join(f"- {line}\n" for line in lines))
    assert resumed_arguments([f"resume={folder}"]) == [*lines, f"resume={folder}", f"hydra.run.dir={folder}"]


OUTSIDE = [
    "data.raw_dir=/etc",
    "+data.prepared_dir=../x",
    "data.folder.add_dir=a/../../x",
    "data.exclude='${oc.env:HOME}'",
]


@pytest.mark.parametrize("line", OUTSIDE)
def test_places_outside_the_current_folder_are_the_users_word_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = ["seed=1", line, "data.raw_dir=raw" if "raw_dir" not in line else "data.prepared_dir=sets"]
    folder = run_dir(tmp_path, "".join(f'- "{entry}"\n' for entry in saved)).relative_to(tmp_path.parent)
    folder = Path("..") / folder
    with pytest.raises(UserError, match="outside the current folder") as refused:
        resumed_arguments([f"resume={folder}"])
    command = str(refused.value).splitlines()[1].partition(": python train.py ")[2]
    again = resumed_arguments(shlex.split(command))
    assert again == [*saved, f"resume={folder}", f"hydra.run.dir={folder}"]
    other = line.partition("=")[0].lstrip("+") + "=elsewhere"
    assert other in resumed_arguments([f"resume={folder}", other])


def test_a_resume_downloads_only_if_the_user_says_so(tmp_path: Path) -> None:
    folder = run_dir(tmp_path, "- data=montgomery\n- data.download=true\n")
    assert "data.download=true" not in resumed_arguments([f"resume={folder}"])
    assert "data.download=true" in resumed_arguments([f"resume={folder}", "data.download=true"])


@pytest.mark.parametrize("script", ["predict", "train"])
@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID", "LOCAL_RANK"])
def test_a_mistake_is_reported_though_the_environment_says_rank_1(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, name: str, script: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "1")
    outcome = run(script, "nowhere.png")
    assert (outcome.code, "nowhere" in outcome.err) == (2, True)


def test_of_several_processes_the_first_reports_a_mistake(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, script, reports in (("0", "train", True), ("1", "train", False), ("1", "predict", True)):
        monkeypatch.setenv("RANK", rank)
        outcome = run(script, "nowhere")
        assert (outcome.code, bool(outcome.err)) == (2, reports), "predict.py is never of several processes"
