"""Make a prepared set of raw radiographs: ``python prepare_data.py --help`` lists the settings."""

from lung_seg.cli.prepare_data import main

if __name__ == "__main__":
    main()
