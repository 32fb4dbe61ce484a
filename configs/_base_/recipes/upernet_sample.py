# A small UPerNet on the generated sample set, on the small CRATE of `make demo`: minutes on one CPU core.
#   python tools/make_sample_set.py data/sample
#   python tools/train.py configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py
#   OMP_NUM_THREADS=1 python tools/train.py CONFIG --cfg-options randomness.seed=0
# Another file of weights: --cfg-options model.backbone.init_cfg.checkpoint=FILE
# Chosen here: four fifths of the pixels are background, so the background has weight 1/5 in the losses. Without this
# weight (whole scenes, learning rate 1e-3), five of the eight classes were never predicted after 300 iterations (mIoU
# 35.3). Crops have half the sides of a scene; scenes are tested whole. Neck and heads are narrow, the auxiliary head
# reads the map of stride 8. Attention has windows as large as the images of the pre-training; the last layer is global.
_base_ = [
    'mmseg::_base_/models/upernet_vit-b16_ln_mln.py',
    '../datasets/sample_voc.py',
    '../mmseg_runtime.py',
]

__loss__ = dict(class_weight=[0.2, *8 * [1.0]])
model = dict(
    data_preprocessor=dict(size=(48, 64)),
    pretrained=None,
    backbone=dict(
        _delete_=True, out_indices=(0, 1, 2, 4), out_type='featmap', window_size=12, global_attn_indexes=(4,)
    ),
    neck=dict(in_channels=4 * [128], out_channels=64, scales=[1, 0.5, 0.25, 0.125]),
    decode_head=dict(in_channels=4 * [64], channels=64, num_classes=9, loss_decode=__loss__),
    auxiliary_head=dict(in_channels=64, in_index=1, channels=64, num_classes=9, loss_decode=__loss__),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadLabelMap', num_classes=9),
    dict(type='RandomCrop', crop_size=(48, 64)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadLabelMap', num_classes=9), dict(type='PackSegInputs')]
tta_pipeline = [  # --tta: the mean of three sizes, each with its mirror image
    test_pipeline[0],
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=factor, keep_ratio=True) for factor in (0.75, 1.0, 1.25)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            test_pipeline[1:2],
            test_pipeline[2:],
        ],
    ),
]
__loader__ = dict(batch_size=8, num_workers=1, persistent_workers=True)
train_dataloader = dict(
    __loader__,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(_base_.dataset, ann_file='ImageSets/Segmentation/train.txt', pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    __loader__,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(_base_.dataset, ann_file='ImageSets/Segmentation/val.txt', pipeline=test_pipeline, test_mode=True),
)
val_evaluator = test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])

optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.01),
    paramwise_cfg=dict(
        layer_decay_rate=0.9,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0)),
    ),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=30),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=300, val_interval=150)
val_cfg = test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8, enable=True)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=150, max_keep_ckpts=1),
    visualization=dict(type='SegVisualizationHook'),
)
