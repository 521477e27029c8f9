"""Checkpoint and split in, scores per case, means with confidence intervals and a report out.

Measures how masks change where radiographs are corrupted, and checks a prepared set for changed files, leaks between
splits and outliers. May import raw, model, prepared, prediction, training and the files at the root, but neither search
nor cli.
"""
