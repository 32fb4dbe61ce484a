# mask-rcnn_small.py on the generated sample set, scenes of 96 x 128, 4 epochs: `make test-slow` runs all of it.
#   python tools/make_sample_set.py data/sample
#   python tools/train.py configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py
#   python tools/train.py CONFIG --cfg-options model.backbone.init_cfg.checkpoint=CHECKPOINT
# Data: $CRATE_DATA/sample/coco, 1,000 and 200 scenes, 8 classes.
_base_ = './mask-rcnn_small.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(
    roi_head=dict(bbox_head=dict(fc_out_channels=256, num_classes=8), mask_head=dict(num_classes=8)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=200, max_per_img=200), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=200)),
)

__classes__ = 'amber_stripes azure_checks crimson_dots cyan_plain emerald_checks lime_stripes magenta_plain violet_dots'
classes = tuple(__classes__.split())
__sample__ = dict(data_root=f'{__data__}/sample/coco', metainfo=dict(classes=classes))
train_dataloader = dict(batch_size=8, dataset=__sample__)
val_dataloader = test_dataloader = dict(batch_size=8, dataset=__sample__)
val_evaluator = test_evaluator = dict(ann_file=f'{__data__}/sample/coco/annotations/instances_val2017.json')

train_cfg = dict(max_epochs=4, val_interval=2)
param_scheduler = [dict(_base_.param_scheduler[0], end=50), dict(_base_.param_scheduler[1], end=4, milestones=[3])]
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(logger=dict(interval=25))
