"""Look at radiographs in a browser, correct their masks, learn from them: ``python serve.py --help`` lists the settings."""

from lung_seg.cli.serve import main

if __name__ == "__main__":
    main()
