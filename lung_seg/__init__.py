"""Lung segmentation in chest radiographs: a U-Net, PyTorch Lightning and Hydra."""
