"""Plain PyTorch: network, loss, metrics, precision and checkpoints.

In: images (N, 1, S, S) and masks. Out: logits, losses, scores per case, and networks read from checkpoints.
Imports no room, only files at the root of the package; works without Hydra, Lightning and albumentations.
"""

DESCRIPTION_KEY = "lung_seg"  # where every file of weights holds the description of its network
