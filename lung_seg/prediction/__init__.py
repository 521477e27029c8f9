"""From radiographs to lung masks, with a network's file: left and right lung, quality, measurements, exports.

Enters: radiographs of any kind that ``raw`` reads, and a checkpoint, .safetensors or .onnx file.
Leaves: a ``Prediction`` in memory, or masks, overlays and predictions.csv on disk; exported networks and model cards.
May import: ``raw``, ``model`` and the files at the root. It works without Hydra, Lightning and albumentations, and with
an ONNX file without PyTorch.
"""
