"""What the released OpenMMLab packages need to run on current torch and NumPy.

Imported first by ``projects.crate``; nothing installed is edited. Each remedy names its reason and the release that
makes it unnecessary.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from unittest.mock import patch

import numpy as np
import torch
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import checkpoint
from mmengine.utils import digit_version

from . import pickled


def apply() -> None:
    """Apply every remedy; a second call changes nothing."""
    allow_mmengine_checkpoints()
    restore_numpy_names()
    find_forked_mmseg()


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read the logs in a checkpoint that mmengine saved.

    Reason: it is the default since torch 2.6; mmengine <= 0.10.7 saves its message hub as HistoryBuffer objects around
    NumPy arrays and cannot resume from its own files. onedl-mmengine <= 0.10.12 allows these types as they are, and
    ``getattr`` of anything, while it loads, and then takes them off torch's list. Both get the stand-ins of
    ``pickled``, which build nothing but plain numbers. Unnecessary with: an mmengine that saves plain numbers.
    """
    if digit_version(torch.__version__) < digit_version('2.6'):
        return
    torch.serialization.add_safe_globals([(stand_in, name) for name, stand_in in pickled.STAND_INS.items()])
    torch._weights_only_unpickler._get_allowed_globals()['builtins.bytearray'] = pickled.plain_bytearray  # torch's own
    if hasattr(checkpoint, 'get_torch_safe_globals'):
        checkpoint.get_torch_safe_globals = list  # torch would choose at random between two types of one name


@contextmanager
def refuse_code() -> Iterator[None]:
    """Within, ``torch.load`` runs no code from a file, whatever its caller says.

    Reason: onedl-mmengine <= 0.10.12 loads again with ``weights_only=False`` what asks for code; torch < 2.6 does so at
    once. ``tools/train.py`` and ``tools/test.py`` set the same variable for the whole process.
    """
    with patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD='1'):
        yield


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
