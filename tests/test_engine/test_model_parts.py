"""What the hooks that measure beside a training have in common; how they behave in one is in their own tests."""

import pytest
import torch
import torch.distributed as dist
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from tiny_models import build
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from toy_runs import ToyCRATE

from projects.crate.engine.model_parts import find_module, normalisation_of


@pytest.mark.parametrize(
    ('library', 'options'),
    [
        ('mmpretrain', dict(type='ClsDataPreprocessor', to_rgb=True, mean=[120.0, 110, 100], std=[60.0, 50, 40])),
        ('mmpretrain', dict(type='ClsDataPreprocessor')),
        (
            'mmpretrain',
            dict(type='SelfSupDataPreprocessor', bgr_to_rgb=True, mean=[120.0, 110, 100], std=[60.0, 50, 40]),
        ),
        ('mmdet', dict(type='DetDataPreprocessor', bgr_to_rgb=True, mean=[120.0, 110, 100], std=[60.0, 50, 40])),
        ('mmseg', dict(type='SegDataPreProcessor', bgr_to_rgb=True, mean=[120.0, 110, 100], std=[60.0, 50, 40])),
        ('mmseg', dict(type='SegDataPreProcessor', mean=[0.0] * 3, std=[255.0] * 3)),
    ],
    ids=lambda value: value if isinstance(value, str) else value['type'],
)
def test_images_are_normalised_as_in_the_training(library, options):
    pytest.importorskip(library)
    own = build(library, options)
    cfg = normalisation_of(own)
    images = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    whole = dict(inputs=[*images], data_samples=None)
    if options['type'] == 'SelfSupDataPreprocessor':  # one view
        whole = dict(inputs=[images], data_samples=None)
    expected = own(whole, training=False)['inputs']
    expected = expected[0] if isinstance(expected, list) else expected
    torch.testing.assert_close(MODELS.build(cfg)(dict(inputs=[*images]))['inputs'], expected)


def test_the_preprocessor_within_a_student_teacher_model_counts():
    own = dict(type='DetDataPreprocessor', bgr_to_rgb=True, mean=[120.0, 110, 100], std=[60.0, 50, 40])
    expected = normalisation_of(build('mmdet', own))
    wrapped = build('mmdet', dict(type='MultiBranchDataPreprocessor', data_preprocessor=own))
    assert normalisation_of(wrapped) == expected


def test_backbone_is_found_through_wrappers():
    model = ToyCRATE()
    model.net.backbone = nn.DataParallel(model.net.backbone)
    found = find_module(nn.DataParallel(model), 'net.backbone')
    assert found is model.net.backbone.module


def test_backbone_is_found_in_test_time_augmentation():
    class Merge(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            raise NotImplementedError

    model = ToyCRATE()
    assert find_module(nn.DataParallel(Merge(model)), 'net.backbone') is model.net.backbone


def test_sharded_weights_are_refused(tmp_path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    try:
        model = FullyShardedDataParallel(ToyCRATE(), device_id=torch.device('cpu'))
        with pytest.raises(ValueError, match='FSDP'):
            find_module(model, 'net.backbone')
    finally:
        dist.destroy_process_group()
