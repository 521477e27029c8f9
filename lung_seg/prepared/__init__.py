"""Cases in, prepared sets out.

``prepare`` reads raw files through ``raw`` and writes a folder of square PNGs with ``manifest.csv`` and
``dataset.json``; ``split`` assigns train, validation and test by patient; ``pixel_cache`` is what training reads.
Only this room writes a prepared set. It may import ``raw`` and the files at the root.
"""
