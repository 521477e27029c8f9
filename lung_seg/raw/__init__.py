"""Raw files: from a file on disk to grey pixels, masks and cases.

Enters: radiographs and masks of any common encoding, DICOM, the folders of the public sets, the seeds of phantoms.
Leaves: `Case` (paths and labels), (H, W) uint8 with air dark, (H, W) bool, network inputs and the way back.
May import: lung_seg.config, errors, files and environment; numpy, OpenCV, Pillow, tqdm; pydicom in dicom.py, pooch and
requests in download.py. No torch, Hydra, Lightning or albumentations.
"""
