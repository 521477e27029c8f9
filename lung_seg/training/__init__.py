"""Training with PyTorch Lightning: from a prepared set to a checkpoint.

In: a ``TrainConfig``. Out: a run directory with checkpoints, metrics.csv and TensorBoard curves, and a ``Fitted``.
May import raw, model, prepared, prediction and files at the root; never evaluation, search or cli. Hydra is imported
in ``fit`` only, albumentations in ``augment`` only.
"""
