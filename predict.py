"""Find the lungs of radiographs: ``python predict.py --help`` lists the settings."""

from lung_seg.cli.predict import main

if __name__ == "__main__":
    main()
