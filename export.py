"""Write a network for other runtimes: ``python export.py --help`` lists the settings."""

from lung_seg.cli.export import main

if __name__ == "__main__":
    main()
