"""Remedies for the released OpenMMLab packages on current torch and NumPy.

Imported first by ``projects.crate``; nothing installed is edited. Each remedy names its reason and the release that
makes it unnecessary.
"""

import importlib.util
import pkgutil
import sys
from ast import literal_eval
from contextlib import suppress
from functools import lru_cache, wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import mmcv
import numpy as np
from mmcv.image import photometric
from mmengine.config import Config
from mmengine.config import config as config_module
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import Runner
from mmengine.utils import digit_version
from yapf.yapflib import yapf_api

from .checkpoints.pickled import allow_mmengine_checkpoints


def apply() -> None:
    """Apply every remedy; a second call changes nothing."""
    allow_mmengine_checkpoints()
    restore_numpy_names()
    restore_find_loader()
    find_forked_mmseg()
    accept_scoped_collate_functions()
    shift_hue_backwards()
    leave_out_multimodal_models()
    recognise_loading_transforms()
    pass_on_interrupts()
    format_a_config_once()


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


def restore_find_loader() -> None:
    """Give back ``pkgutil.find_loader``, which Python 3.14 dropped, for callers that ask only whether a module exists.

    Reason: mmengine <= 0.10.7 and mmcv <= 2.2.0 look for mmcv's ops with it, mmengine before each training.
    Unnecessary with: releases of these that call ``importlib.util.find_spec``; onedl-mmcv 2.3.6 still needs it.
    """
    if not hasattr(pkgutil, 'find_loader'):
        pkgutil.find_loader = importlib.util.find_spec


def find_forked_mmseg() -> None:
    """Let ``_base_ = 'mmseg::...'`` find the configs of onedl-mmsegmentation.

    Reason: onedl-mmengine <= 0.10.12 looks for a distribution called mmsegmentation. It falls back on the module where
    distribution and module have one name, as for mmdet and mmpretrain.
    """
    with suppress(PackageNotFoundError):
        version('onedl-mmsegmentation')
        MODULE2PACKAGE['mmseg'] = 'mmseg'


def accept_scoped_collate_functions() -> None:
    """Let ``Runner.build_dataloader`` ignore the key ``_scope_`` of a ``collate_fn``.

    Reason: ``_base_ = 'mmpretrain::simclr/...'`` marks every dict that has a ``type`` with its ``_scope_``. Then
    mmengine <= 0.10.7 hands all keys but ``type`` to the function: "unexpected keyword argument '_scope_'".
    Unnecessary with: an mmengine that removes the key, as its registries do.
    """
    original = Runner.build_dataloader
    if hasattr(original, '__wrapped__'):
        return

    @wraps(original)
    def build_dataloader(dataloader, *args, **kwargs):
        function = dataloader.get('collate_fn') if isinstance(dataloader, dict) else None
        if isinstance(function, dict) and '_scope_' in function:
            function = {key: value for key, value in function.items() if key != '_scope_'}
            dataloader = type(dataloader)({**dataloader, 'collate_fn': function})
        return original(dataloader, *args, **kwargs)

    Runner.build_dataloader = staticmethod(build_dataloader)


def shift_hue_backwards() -> None:
    """Let ``mmcv.adjust_hue`` take a negative ``hue_factor``.

    Reason: mmcv <= 2.2.0 computes ``np.uint8(hue_factor * 255)`` and relies on the wrap-around of negative numbers,
    which NumPy 2 refuses: every ColorJitter with a hue stops the training. Unnecessary with: an mmcv that takes the
    remainder itself.
    """
    original = photometric.adjust_hue
    if hasattr(original, '__wrapped__'):
        return

    class Turn(float):
        """A part of the colour circle; its product with 255 is an integer modulo 256."""

        def __mul__(self, steps):
            return int(float(self) * steps) % 256

    @wraps(original)
    def adjust_hue(img, hue_factor, *args, **kwargs):
        return original(img, Turn(hue_factor), *args, **kwargs)

    for module in (photometric, mmcv.image, mmcv):
        module.adjust_hue = adjust_hue


def leave_out_multimodal_models() -> None:
    """Let ``import mmpretrain`` succeed beside transformers >= 4.56.

    Reason: with transformers installed, mmpretrain <= 1.2.0 and onedl-mmpretrain <= 1.3.6 import their multi-modal
    models, whose base classes transformers 4.56 moved ("NoneType takes no arguments"). mmpretrain has placeholders for
    a machine without transformers; they are chosen here. Unnecessary with: an mmpretrain that imports from the new
    places.
    """
    name = 'mmpretrain.utils.dependency'
    with suppress(ModuleNotFoundError):  # transformers, mmpretrain, or what mmpretrain needs is missing
        if digit_version(version('transformers')) < digit_version('4.56') or name in sys.modules:
            return
        package = importlib.util.find_spec('mmpretrain')
        if package is None or package.origin is None:
            return
        spec = importlib.util.spec_from_file_location(name, Path(package.origin).parent / 'utils' / 'dependency.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.WITH_MULTIMODAL = False
        sys.modules[name] = module  # mmpretrain itself is not imported: that takes seconds


def recognise_loading_transforms() -> None:
    """Let ``get_loading_pipeline`` of mmdet take a transform that extends ``LoadImageFromFile`` for that class.

    Reason: mmdet <= 3.3.0 compares classes by identity, so its analyze_results.py refuses ``LoadImageOrSkip``. The tool
    imports mmdet before it reads a config; in other programs import ``mmdet.datasets`` first. Unnecessary with: an
    mmdet that asks ``issubclass``.
    """
    module = sys.modules.get('mmdet.datasets.utils')
    if module is None or isinstance(module.TRANSFORMS, SimpleNamespace):
        return
    transforms, stock = module.TRANSFORMS, module.LoadImageFromFile

    def get(name):
        found = transforms.get(name)
        return stock if isinstance(found, type) and issubclass(found, stock) else found

    module.TRANSFORMS = SimpleNamespace(get=get)


def paste_masks_beside_images() -> None:
    """Let a mask head of mmdet paste, on a CPU, the mask of a box that lies beside its image: nothing is drawn.

    :func:`projects.crate.engine.launch.build_runner` calls it, once mmdet's models have been imported. Reason: mmdet <=
    3.3.0 and onedl-mmdetection <= 3.5.1 ask for a range whose end is before its start ("upper bound and lower bound
    inconsistent with step sign"). QueryInst does not clip its boxes, so early validations on a CPU end so. Unnecessary
    with: an mmdet that limits the range.
    """
    module = sys.modules.get('mmdet.models.roi_heads.mask_heads.fcn_mask_head')
    if module is None or hasattr(module._do_paste_mask, '__wrapped__'):
        return
    original = module._do_paste_mask

    @wraps(original)
    def paste(masks, boxes, img_h, img_w, skip_empty=True):
        is_left_or_above = (boxes[:, 2:].amax(0) < 0).any()
        is_right_or_below = (boxes[:, :2].amin(0) > boxes.new_tensor([img_w, img_h])).any()
        if skip_empty and (is_left_or_above or is_right_or_below):
            return masks.new_zeros(len(masks), 0, 0), (slice(0, 0), slice(0, 0))
        return original(masks, boxes, img_h, img_w, skip_empty)

    module._do_paste_mask = paste


def pass_on_interrupts() -> None:
    """Let Ctrl-C through while ``Config.pretty_text`` formats a config, as it does for every checkpoint.

    Reason: mmengine <= 0.10.7 and onedl-mmengine <= 0.10.12 catch everything there and raise a SyntaxError. Unnecessary
    with: an mmengine that catches ``Exception``.
    """
    original = Config.pretty_text
    if not isinstance(original, property) or hasattr(original.fget, '__wrapped__'):
        return

    @wraps(original.fget)
    def pretty_text(self):
        try:
            return original.fget(self)
        except SyntaxError as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise

    Config.pretty_text = property(pretty_text)


def format_a_config_once() -> None:
    """Let ``Config.pretty_text`` keep the texts that it formatted last.

    Reason: mmengine <= 0.10.7 and onedl-mmengine <= 0.10.12 format the config with yapf four times at the start of a
    run, and again for every checkpoint. Each time takes 0.03 to 1.1 s with the configs of this project. Unnecessary
    with: an mmengine that keeps the text.
    """
    original = yapf_api.FormatCode
    if hasattr(original, '__wrapped__'):
        return
    kept = lru_cache(maxsize=8)(lambda text, options: original(text, **literal_eval(options)))

    @wraps(original)
    def format_code(text, **options):
        return kept(text, repr(options))

    for module in (yapf_api, config_module):  # the forks import it from the first, when they need it
        module.FormatCode = format_code
