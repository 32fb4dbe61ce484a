"""Trainings that never were, and a little data to report on."""

import torch
from mmengine.config import Config
from toy_observer import BACKBONE, PREPROCESSOR, backbone

from projects.crate.datasets import SampleSpec, make_sample_set

RUN = 'crate-toy_1xb2-coslr-3e_sample_20260102_030405'
TRAINING = dict(
    default_scope='mmpretrain',
    model=dict(
        type='ImageClassifier',
        backbone=dict(BACKBONE, out_indices=[0], init_cfg=dict(type='Pretrained', checkpoint='gone.pth')),
    ),
    data_preprocessor=dict(PREPROCESSOR, num_classes=2),
    auto_scale_lr=dict(base_batch_size=2),
)
TEXT = Config(TRAINING).pretty_text


def save_training(path, text=TEXT):
    """A checkpoint as mmengine writes it, with the config as ``text`` in it."""
    path.parent.mkdir(exist_ok=True)
    meta = dict(cfg=text, experiment_name=RUN, epoch=3, iter=1234)
    weights = {f'backbone.{key}': value for key, value in backbone().state_dict().items()}
    torch.save(dict(meta=meta, state_dict=weights), path)
    return path


def make_data(root, layouts=('voc', 'coco')):
    """Eight scenes, 48 high and 64 wide."""
    for layout in layouts:
        make_sample_set(root, layout, SampleSpec(8, 8, (48, 64), 2), workers=1)
    return root
