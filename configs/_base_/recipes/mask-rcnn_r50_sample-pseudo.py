# A class-agnostic Mask R-CNN on the generated sample set that learns from pseudo labels, without annotations. MaskCut
# writes the labels, the detector generalises them (as in arXiv 2301.11320).
#   python tools/make_sample_set.py data/sample
#   python tools/maskcut.py data/sample/coco/train2017 data/sample/coco/annotations/pseudo_train2017.json \
#       --config configs/maskcut/maskcut_crate-w128d5-p4_1xb8_sample-96x128px.py --checkpoint CHECKPOINT
#   python tools/train.py CONFIG
# The model is mmdet's Mask R-CNN R50-FPN with one class, mmdet's 1x schedule stays. It starts from random weights: no
# labels of ImageNet are used. All layers and batch norms are trained, by AdamW. Scenes are 96 high and 128 wide, with a
# few objects: the smallest anchor is 16 wide, half of mmdet's, and a quarter of mmdet's boxes are sampled.
# Data: $CRATE_DATA/sample/coco. The detector is evaluated against the true annotations of val2017, with all categories
# as one. Another set of images: data_root, ann_file, data_prefix, scale.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)

model = dict(
    backbone=dict(init_cfg=None, frozen_stages=-1, norm_eval=False),
    rpn_head=dict(anchor_generator=dict(scales=[4])),
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)),
    train_cfg=dict(rcnn=dict(sampler=dict(num=128))),
)

train_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]
metainfo = dict(classes=('object',), palette=[(220, 20, 60)])
__sample__ = dict(data_root=f'{__data__}/sample/coco', metainfo=metainfo)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(__sample__, ann_file='annotations/pseudo_train2017.json', pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(batch_size=8, dataset=dict(__sample__, pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(
    type='ClassAgnosticCocoMetric',
    ann_file=f'{__data__}/sample/coco/annotations/instances_val2017.json',
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05), clip_grad=dict(max_norm=1.0)
)
auto_scale_lr = dict(base_batch_size=8, enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=3))
