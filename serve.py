"""A local page to look at radiographs and correct them: ``python serve.py --help`` lists the settings."""

from lung_seg.cli.serve import main

if __name__ == "__main__":
    main()
