# A round of self-training of mask-rcnn_cutler.py: 80,000 iterations at 0.005 from the last weights, without
# DropLoss, with copy-paste of objects scaled by 0.5 to 1.0 (arXiv 2301.11320). DETECTOR.py and LAST.pth: the last one.
#   torchrun --nproc-per-node 8 tools/maskcut.py $CRATE_DATA/imagenet/train PREDICTIONS.json \
#       --config DETECTOR.py --checkpoint LAST.pth
#   python tools/merge_labels.py OLD.json PREDICTIONS.json NEW.json --threshold 0.7       in the next round 0.65
#   bash tools/dist_train.sh CONFIG 8 \
#       --cfg-options load_from=LAST.pth train_dataloader.dataset.dataset.ann_file=NEW.json
# Chosen here: the learning rate falls after 60,000 iterations.
_base_ = './mask-rcnn_cutler.py'

model = dict(train_cfg=dict(rcnn=dict(assigner=dict(neg_iou_thr=0.5))))
train_pipeline = [dict(type='ScaledCopyPaste', scale_range=(0.5, 1.0)), dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.005))
train_cfg = dict(max_iters=80000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=80000, milestones=[60000], gamma=0.02),
]
