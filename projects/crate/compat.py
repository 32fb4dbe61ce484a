"""What the released OpenMMLab packages need to run on current torch and NumPy.

Imported first by ``projects.crate``; nothing installed is edited. Each remedy names its reason and the release that
makes it unnecessary.
"""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from mmengine.config.utils import MODULE2PACKAGE

from .checkpoints.pickled import allow_mmengine_checkpoints


def apply() -> None:
    """Apply every remedy; a second call changes nothing."""
    allow_mmengine_checkpoints()
    restore_numpy_names()
    find_forked_mmseg()


def restore_numpy_names() -> None:
    """Give back two names that NumPy dropped and installed packages still use.

    Reason: ``np.in1d`` (gone in NumPy 2.4): mmpretrain <= 1.2.0, evaluation/metrics/retrieval.py. ``np.float`` (gone in
    1.24): mmcv <= 2.2.0, ops/pixel_group.py; mmdet <= 3.3.0, evaluation/functional/ytviseval.py. Unnecessary with:
    releases of these that say ``np.isin(...).ravel()`` and ``float``; the onedl forks still need it.
    """
    if not hasattr(np, 'in1d'):
        np.in1d = lambda ar1, ar2: np.isin(ar1, ar2).ravel()
    if 'float' not in vars(np):
        np.float = float


def find_forked_mmseg() -> None:
    """Let ``_base_ = 'mmseg::...'`` find the configs of onedl-mmsegmentation.

    Reason: onedl-mmengine <= 0.10.12 looks for a distribution called mmsegmentation. It falls back on the module where
    distribution and module have one name, as for mmdet and mmpretrain.
    """
    with suppress(PackageNotFoundError):
        version('onedl-mmsegmentation')
        MODULE2PACKAGE['mmseg'] = 'mmseg'
