"""Configs of a small classifier, detector and segmentor with CRATE on a small sample set; one training step of them."""

import json
from pathlib import Path

from toy_runs import forget_runs

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.engine import launch
from projects.crate.sample_set.coats import CLASSES, SEGMENTATION_METAINFO

ARCH = dict(embed_dims=16, num_heads=2, num_layers=4)
SCENES = 8
WIDTH_HEIGHT = (64, 48)  # of what the dense models see: 6 x 8 patches
NORMALISATION = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
LR = 1e-2


def make_data(folder):
    """Scenes for the dense models, single objects for the classifier."""
    for layout in ('coco', 'voc'):
        make_sample_set(folder, layout, SampleSpec(SCENES, SCENES, (96, 128), 4))
    make_sample_set(folder, 'imagenet', SampleSpec(SCENES, SCENES, (48, 48)))
    return folder


def backbone(**changes):
    return {**dict(type='CRATE', arch=ARCH, img_size=48, patch_size=8), **changes}


def windowed(**changes):
    """Windows of 3 x 3 patches in all layers but the last."""
    return backbone(**dict(out_type='featmap', window_size=3, global_attn_indexes=[3]) | changes)


def classifier(data):
    head = dict(type='LinearClsHead', num_classes=len(CLASSES), in_channels=ARCH['embed_dims'])
    dataset = dict(type='CustomDataset', data_root=str(data / 'imagenet'), data_prefix='train')
    return dict(
        default_scope='mmpretrain',
        data_preprocessor=dict(num_classes=len(CLASSES), to_rgb=True, **NORMALISATION),
        model=dict(type='ImageClassifier', backbone=backbone(), head=head),
        train_dataloader=loader(dataset, [dict(type='LoadImageFromFile'), dict(type='PackInputs')]),
    )


def detector(data, **changes):
    neck = dict(
        type='SimpleFPN',
        in_channels=ARCH['embed_dims'],
        out_channels=16,
        in_stride=changes.get('patch_size', 8),
        out_strides=[8, 16],
    )
    head = dict(
        type='FCOSHead',
        num_classes=len(CLASSES),
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        norm_cfg=None,
        strides=[8, 16],
        regress_ranges=[[-1, 24], [24, 1e8]],
    )
    dataset = dict(
        type='CocoDataset',
        data_root=str(data / 'coco'),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        metainfo=dict(classes=CLASSES),
    )
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=WIDTH_HEIGHT),
        dict(type='PackDetInputs'),
    ]
    return dict(
        default_scope='mmdet',
        model=dict(
            type='FCOS',
            data_preprocessor=dict(type='DetDataPreprocessor', bgr_to_rgb=True, **NORMALISATION),
            backbone=windowed(**changes),
            neck=neck,
            bbox_head=head,
        ),
        train_dataloader=loader(dataset, pipeline),
    )


def segmentor(data, **changes):
    num_classes = len(SEGMENTATION_METAINFO['classes'])
    head = dict(type='FCNHead', in_channels=16, channels=16, num_convs=1, concat_input=False, num_classes=num_classes)
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(data / 'VOCdevkit/VOC2012'),
        ann_file='ImageSets/Segmentation/train.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        metainfo=SEGMENTATION_METAINFO,
    )
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'),
        dict(type='Resize', scale=WIDTH_HEIGHT),
        dict(type='PackSegInputs'),
    ]
    return dict(
        default_scope='mmseg',
        model=dict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(48, 64), bgr_to_rgb=True, **NORMALISATION),
            backbone=windowed(**changes),
            decode_head={**head, 'norm_cfg': dict(type='BN')},
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=loader(dataset, pipeline),
    )


def loader(dataset, pipeline):
    sampler = dict(type='DefaultSampler', shuffle=True)
    return dict(batch_size=4, num_workers=0, dataset={**dataset, 'pipeline': pipeline}, sampler=sampler)


def write(folder, cfg, iterations=1, **changes):
    """The config, complete for so many iterations of AdamW, in ``folder``; returns its path."""
    cfg = {
        'custom_imports': dict(imports=['projects.crate', 'toy_runs']),
        'work_dir': str(Path(folder, 'run')),
        'train_cfg': dict(type='IterBasedTrainLoop', max_iters=iterations),
        'optim_wrapper': dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=LR, weight_decay=0.0)),
        'default_hooks': dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=iterations)),
        'randomness': dict(seed=1),
        **cfg,
        **changes,
    }
    path = Path(folder, 'dense.json')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(cfg))
    return path


def step(folder, cfg, **changes):
    """One iteration as ``tools/train.py`` runs it: the runner, and the weights before it."""
    forget_runs()
    cfg = launch.read_config(write(folder, cfg, **changes))
    launch.prepare_training(cfg)
    runner = launch.build_runner(cfg)
    runner.model.init_weights()  # a second call, by the runner, draws nothing
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    return runner, before
