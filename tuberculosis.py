"""Look for signs of tuberculosis inside the lungs: ``python tuberculosis.py --help`` lists the settings."""

from lung_seg.cli.tuberculosis import main

if __name__ == "__main__":
    main()
