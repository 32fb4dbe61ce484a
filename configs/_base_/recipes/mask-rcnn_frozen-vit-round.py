# A round of self-training of mask-rcnn_frozen-vit.py: half as long, at half the learning rate, from the last weights,
# without DropLoss, with copy-paste of objects scaled by 0.5 to 1.0.
#   python tools/maskcut.py IMAGES PREDICTIONS.json --config DETECTOR.py --checkpoint LAST
#   python tools/merge_labels.py OLD.json PREDICTIONS.json $CRATE_DATA/coco/annotations/pseudo_train2017.json
#   python tools/train.py CONFIG --cfg-options load_from=LAST
# tools/discover.py does so by itself.
_base_ = './mask-rcnn_frozen-vit.py'

model = dict(train_cfg=dict(rcnn=dict(assigner=dict(neg_iou_thr=0.5))))
train_pipeline = [dict(type='ScaledCopyPaste', scale_range=(0.5, 1.0)), dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=6, milestones=[4])]
optim_wrapper = dict(optimizer=dict(lr=5e-4))
