# mask-rcnn_small.py on the first 128 images of COCO train2017: a check that the detector can overfit. It is trained and
# tested on the same images without augmentation, 75 epochs.
#   CRATE_DATA=/datasets python tools/train.py CONFIG --cfg-options model.backbone.init_cfg.checkpoint=FILE
# Data: $CRATE_DATA/coco128/{train2017/,annotations/instances_train2017.json}, 128 images (two without annotations).
_base_ = './mask-rcnn_small.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(
    roi_head=dict(bbox_head=dict(fc_out_channels=512), mask_roi_extractor=dict(roi_layer=dict(output_size=7))),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=300, max_per_img=300), rcnn=dict(sampler=dict(num=64, pos_fraction=0.5), mask_size=14)
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=300)),
)

__resize__ = dict(type='Resize', scale=(320, 320), keep_ratio=True)
train_pipeline = [*_base_.train_pipeline[:2], __resize__, _base_.train_pipeline[-1]]
test_pipeline = [_base_.test_pipeline[0], __resize__, *_base_.test_pipeline[2:]]
__coco128__ = dict(data_root=f'{__data__}/coco128', ann_file='annotations/instances_train2017.json')
train_dataloader = dict(
    batch_size=2,
    dataset=dict(__coco128__, filter_cfg=dict(filter_empty_gt=True, min_size=0), pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(
    batch_size=2, dataset=dict(__coco128__, data_prefix=dict(img='train2017/'), pipeline=test_pipeline)
)
val_evaluator = test_evaluator = dict(ann_file=f'{__data__}/coco128/annotations/instances_train2017.json')

train_cfg = dict(max_epochs=75, val_interval=15)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=75, milestones=[62, 71])]
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(logger=dict(interval=32))
