"""``lung-seg``, the command of the installed package: its subcommands are the top-level scripts."""

import difflib
import os
import runpy
import sys

from lung_seg import __version__
from lung_seg.environment import AS_LUNG_SEG

COMMANDS = {
    "train": "Train a network and score it.",
    "evaluate": "Score checkpoints on one split of a prepared set.",
    "prepare_data": "Write raw radiographs as a prepared set.",
    "predict": "Segment the lungs of radiographs.",
    "serve": "Look at radiographs in a browser, correct their masks, learn from them.",
    "tuberculosis": "Look for signs of tuberculosis inside the lungs.",
    "export": "Write a network for other runtimes.",
}
HELP = """lung-seg: lung segmentation in chest radiographs.

  lung-seg <command> [key=value] ...
  lung-seg predict xray.png

{}

lung-seg <command> --help lists the settings of a command; lung-seg --version prints the version."""


def main() -> None:
    """Run a subcommand in this process.

    It runs as ``python -m lung_seg.cli.<command>`` would, since processes that Lightning or a data loader starts
    repeat the command of the main module.
    """
    typed, *arguments = sys.argv[1:] or ["--help"]
    name = typed.replace("-", "_")
    if typed in ("--help", "-h"):
        print(HELP.format("\n".join(f"  {name:14}{summary}" for name, summary in COMMANDS.items())))
    elif typed == "--version":
        print(f"lung-seg {__version__}")
    elif name in COMMANDS:
        sys.argv[1:] = arguments
        os.environ[AS_LUNG_SEG] = "true"
        runpy.run_module(f"lung_seg.cli.{name}", run_name="__main__", alter_sys=True)
    else:
        similar = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean {similar[0]}? " if similar else ""
        sys.stderr.write(f"{typed!r} is no command of lung-seg.\n{hint}lung-seg --help lists the commands.\n")
        raise SystemExit(2)


if __name__ == "__main__":
    main()
