# A small class-agnostic Mask R-CNN on the frozen features of a ViT: the default detector of tools/discover.py. It
# learns from the masks that MaskCut found in the same features, without labels (arXiv 2301.11320).
#   python tools/maskcut.py $CRATE_DATA/coco/train2017 $CRATE_DATA/coco/annotations/pseudo_train2017.json \
#       --config configs/maskcut/NAME.py --checkpoint CHECKPOINT
#   python tools/train.py CONFIG --cfg-options model.backbone.backbone.init_cfg.checkpoint=CHECKPOINT
# CHECKPOINT: see `Weights` in the file of the backbone. tools/discover.py sets data, backbone and strides by itself.
# DropLoss: neg_iou_thr=(0.01, 0.5). A proposal that overlaps no mask is not learnt as background, since MaskCut misses
# objects (docs/detector-without-labels.md). It must be a tuple; with a list mmdet has no background at all.
# Data: $CRATE_DATA/coco; the detector is evaluated against the true annotations of val2017, with all categories as one.
# For patches of 14 x 14: the strides of the pyramid are half a patch and its doubles.
_base_ = './mask-rcnn_small.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

__strides__ = (7, 14, 28, 56, 112)
__roi__ = dict(featmap_strides=__strides__[:4], finest_scale=98)
model = dict(
    backbone=dict(_delete_=True, type='FrozenViT', backbone=dict(init_cfg=dict(type='Pretrained', prefix='backbone.'))),
    neck=dict(out_strides=__strides__),
    rpn_head=dict(anchor_generator=dict(strides=__strides__)),
    roi_head=dict(
        bbox_roi_extractor=__roi__,
        bbox_head=dict(fc_out_channels=256, num_classes=1),
        mask_roi_extractor=__roi__,
        mask_head=dict(num_classes=1),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=500),
        rcnn=dict(assigner=dict(neg_iou_thr=(0.01, 0.5)), sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=300)),
)

__resize__ = dict(type='Resize', scale=(448, 448), keep_ratio=True)
load_pipeline = [*_base_.train_pipeline[:2], __resize__, _base_.train_pipeline[3]]
train_pipeline = [dict(type='ScaledCopyPaste', scale_range=(0.3, 1.0)), dict(type='PackDetInputs')]
test_pipeline = [_base_.test_pipeline[0], __resize__, *_base_.test_pipeline[2:]]
__coco__ = dict(
    type='CocoDataset', data_root=f'{__data__}/coco', metainfo=dict(classes=('object',), palette=[(220, 20, 60)])
)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(
            __coco__,
            ann_file='annotations/pseudo_train2017.json',
            data_prefix=dict(img='train2017/'),
            filter_cfg=dict(filter_empty_gt=True, min_size=0),
            pipeline=load_pipeline,
        ),
        pipeline=train_pipeline,
    ),
)
val_dataloader = test_dataloader = dict(batch_size=4, dataset=dict(__coco__, pipeline=test_pipeline))
val_evaluator = test_evaluator = dict(
    type='ClassAgnosticCocoMetric', ann_file=f'{__data__}/coco/annotations/instances_val2017.json'
)

train_cfg = dict(max_epochs=12, val_interval=12)
optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys=dict(shared_fcs=dict(lr_mult=0.3))),
    clip_grad=dict(max_norm=1.0),
)
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=25))
