"""A training with all that a hook could disturb, and a check that it did not."""

import random

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS, TRANSFORMS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from tiny_models import BUILDERS, build
from torch import nn
from toy_runs import config, last_checkpoint, same, train

from projects.crate.models import CRATE

EPOCHS = dict(type='EpochBasedTrainLoop', max_epochs=3)
ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=5)
# (loop, workers, by_epoch, use_ema) that are worth a check
TRAININGS = [
    (dict(EPOCHS, max_epochs=2), 0, False, False),
    (dict(EPOCHS, max_epochs=2), 1, True, True),
    (ITERATIONS, 0, False, True),
]


@TRANSFORMS.register_module()
class Jitter(BaseTransform):
    """Brightness, drawn from every generator that there is in the process."""

    def transform(self, results):
        factor = np.float32(random.random() + np.random.rand() + torch.rand(1).item()) / 2
        results['img'] = (results['img'] * factor).clip(0, 255).astype(np.uint8)
        return results


@MODELS.register_module()
class NoisyCRATE(CRATE):
    """A backbone with all that behaves differently in training, and a part that never trains."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm, self.frozen, self.noise = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Dropout(0.2)

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x):
        return super().forward(self.noise(self.frozen(self.norm(x))))


@HOOKS.register_module()
class ModesHook(Hook):
    """Notes the mode of every module in every iteration, as the training sees it."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append([module.training for module in runner.model.modules()])


def classification(folder, root, loop, workers, hooks, **changes):
    """A run of mmpretrain with random augmentation, dropout, drop path, batch normalisation, frozen parts and EMA.

    ``root`` holds a sample set in ImageNet layout.
    """
    arch = dict(embed_dims=12, num_heads=2, num_layers=2)
    backbone = dict(type='NoisyCRATE', arch=arch, img_size=16, patch_size=4, drop_path_rate=0.3, frozen_stages=1)
    head = dict(type='LinearClsHead', num_classes=8, in_channels=12)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=16),
        dict(type='RandomFlip', prob=0.5),
        dict(type='Jitter'),
        dict(type='PackInputs'),
    ]
    dataset = dict(type='CustomDataset', data_root=str(root / 'imagenet'), data_prefix='train', pipeline=pipeline)
    loader = dict(
        batch_size=4,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    return config(
        folder,
        loop=loop,
        default_scope='mmpretrain',
        model=dict(type='ImageClassifier', backbone=backbone, head=head),
        data_preprocessor=dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], to_rgb=True, num_classes=8),
        train_dataloader=loader,
        custom_hooks=[dict(type='EMAHook', momentum=0.1), dict(type='ModesHook'), *hooks],
        **changes,
    )


def assert_unnoticed(folder, root, loop, workers, hook, **changes):
    """A run with ``hook`` is bit for bit the run without it."""
    runners, checkpoints = [], []
    for name, hooks in (('without', []), ('with', [hook])):
        runners.append(train(classification(folder / name, root, loop, workers, hooks, **changes)))
        checkpoints.append(last_checkpoint(folder / name))
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert same(checkpoints[0][key], checkpoints[1][key]), key
    losses = [checkpoint['message_hub']['log_scalars']['train/loss']._log_history for checkpoint in checkpoints]
    assert len(losses[0]) > 2 and np.array_equal(*losses)
    modes = [hook.seen for runner in runners for hook in runner.hooks if isinstance(hook, ModesHook)]
    assert modes[0] == modes[1]
    parameters = [{n: p.requires_grad for n, p in runner.model.named_parameters()} for runner in runners]
    assert parameters[0] == parameters[1]
    assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'


def train_tiny(folder, library, hook, **options):
    """Two epochs of a classifier, a detector or a segmentor around a CRATE, in its library, with ``hook``."""
    pytest.importorskip(library)
    backbone = dict(type='CRATE', arch=dict(embed_dims=8, num_layers=2, num_heads=2), img_size=(16, 24), patch_size=4)
    model = BUILDERS[library](backbone, 8)
    kind, sample = dict(
        mmpretrain=(dict(type='ClsDataPreprocessor'), classification_sample),
        mmdet=(dict(type='DetDataPreprocessor'), detection_sample),
        mmseg=(dict(type='SegDataPreProcessor', size=(16, 24)), segmentation_sample),
    )[library]
    model.data_preprocessor = build(library, dict(kind, mean=[0.0] * 3, std=[255.0] * 3))
    inputs = [dict(inputs=torch.full((3, 16, 24), i, dtype=torch.uint8), data_samples=sample()) for i in range(4)]
    runner = Runner(
        model,
        str(folder / 'run'),
        train_dataloader=dict(
            dataset=inputs, batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        custom_hooks=[hook],
        default_scope=library,
        experiment_name=library,
        **options,
    )
    runner.train()


def classification_sample():
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(1)


def detection_sample():
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=(16, 24)))
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[2.0, 2, 12, 10]]), labels=torch.tensor([1]))
    return sample


def segmentation_sample():
    from mmseg.structures import SegDataSample

    return SegDataSample(gt_sem_seg=PixelData(data=torch.ones(1, 16, 24, dtype=torch.long)))
