"""Train a network and score it: ``python train.py --help`` lists the settings."""

from lung_seg.cli.train import main

if __name__ == "__main__":
    main()
