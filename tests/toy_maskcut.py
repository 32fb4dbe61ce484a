"""Tiny pseudo-label runs that die where a test wants; their configs import this, so also in processes of their own.

A step is a call by which data are secured: one that forces a file to the disk, or gives it its name.
"""

import functools
import itertools
import os
import signal
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import MODELS, TRANSFORMS
from PIL import Image
from toy_runs import ROOT

import projects.crate  # noqa: F401  (registers)

BASE = ROOT / 'configs' / 'maskcut' / 'maskcut_crate-emergence-small-p8_1xb8_coco.py'
BACKBONE = dict(type='CRATE', arch=dict(embed_dims=16, num_layers=2, num_heads=2), img_size=32, patch_size=4)
CONFIG = f"""
_base_ = {str(BASE)!r}
custom_imports = dict(imports=['projects.crate', 'toy_maskcut'], allow_failed_imports=False)
model = dict(backbone=dict(_delete_=True, **{BACKBONE}), layer=-1)
test_pipeline = [
    dict(type='LogImage'),
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 24), keep_ratio=False, backend='pillow', interpolation='lanczos'),
    dict(type='mmcv.LoadAnnotations'),
    dict(type='PackDetInputs'),
]
test_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
"""
BATCH = 4
LOG = 'TOY_MASKCUT_LOG'  # a file for the ids of the images that are loaded
DEATH = 'TOY_MASKCUT_DEATH'  # '{signal} {n} {rank}': that process gets it before its n-th step; several: ';'


@TRANSFORMS.register_module()
class LogImage:
    """Writes down what is loaded, from whatever process."""

    def __call__(self, results):
        if LOG in os.environ:
            with Path(os.environ[LOG]).open('a') as file:
                file.write(f'{results["img_id"]}\n')
        return results


def on_nth_step(n, action):
    """In place of ``os.fsync`` and ``Path.replace``: functions that call ``action`` before the n-th call of either."""
    steps = itertools.count(1)

    def counted(function):
        def call(*arguments):
            if next(steps) == n:
                action()
            return function(*arguments)

        return call

    return counted(os.fsync), counted(Path.replace)


def die_as_told():
    """See ``DEATH``."""
    for death in filter(None, os.environ.get(DEATH, '').split(';')):
        name, n, rank = death.split()
        if rank == os.environ.get('RANK', '0'):
            # a shell starts what it runs in the background with interrupts ignored
            signal.signal(signal.SIGINT, signal.default_int_handler)
            die = functools.partial(os.kill, os.getpid(), signal.Signals[name])
            os.fsync, Path.replace = on_nth_step(int(n), die)


die_as_told()


def make_images(folder, number=10):
    """Photographs of bright boxes on noise, of several sizes and shapes, in two folders and below ``folder``."""
    rng = np.random.default_rng(0)
    for index in range(number):
        height, width = rng.integers(20, 50, 2)
        pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
        top, left = rng.integers(0, 8, 2)
        pixels[top : top + height // 2, left : left + width // 2] += 120
        path = Path(folder, ('b', 'a', '')[index % 3], f'{index:02d}.{("JPEG", "png")[index % 2]}')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return Path(folder)


def make_run(folder, number=10, num_masks=3):
    """Images, config and checkpoint in ``folder``; returns the arguments of the tool but OUT.

    MaskCut takes most of the time of a run. Tests of files, and not of masks, are content with one mask per image.
    """
    folder.mkdir(exist_ok=True)
    make_images(folder / 'images', number)
    (folder / 'config.py').write_text(f"{CONFIG}model['num_masks'] = {num_masks}\n")
    save_checkpoint(folder / 'weights.pth')
    return [folder / 'images', '--config', folder / 'config.py', '--checkpoint', folder / 'weights.pth']


def save_checkpoint(path, seed=0, **extra):
    """As mmpretrain saves a classifier around the backbone."""
    torch.manual_seed(seed)
    weights = {f'backbone.{key}': value for key, value in MODELS.build(BACKBONE).state_dict().items()}
    torch.save(dict(state_dict={**weights, **extra}), path)
