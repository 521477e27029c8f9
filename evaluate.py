"""Score checkpoints on one split of a prepared set: ``python evaluate.py --help`` lists the settings."""

from lung_seg.cli.evaluate import main

if __name__ == "__main__":
    main()
