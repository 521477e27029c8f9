"""Hyperparameter search behind ``train.py --multirun search=...``: ranges in, the best settings and a page out.

Optuna chooses the settings, Hydra's launcher runs the trainings. May import evaluation, training and what those may
import, but not cli. Installed with the extra "search".
"""
