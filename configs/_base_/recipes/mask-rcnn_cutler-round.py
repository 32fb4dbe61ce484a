# A round of self-training of mask-rcnn_cutler.py: 80,000 iterations at 0.005 from the last weights, without
# DropLoss, with copy-paste of objects scaled by 0.5 to 1.0 (arXiv 2301.11320). DETECTOR.py and LAST.pth: the last one.
#   torchrun --nproc-per-node 8 tools/maskcut.py $CRATE_DATA/imagenet/train PREDICTIONS.json \
#       --config DETECTOR.py --checkpoint LAST.pth
#   python tools/merge_labels.py OLD.json PREDICTIONS.json NEW.json --threshold 0.7       in the next round 0.65
#   bash tools/dist_train.sh CONFIG 8 \
#       --cfg-options load_from=LAST.pth train_dataloader.dataset.dataset.ann_file=NEW.json
_base_ = [
    '../models/mask-rcnn_cutler.py',
    '../datasets/imagenet_pseudo.py',
    '../schedules/cutler_80k.py',
    '../mmdet_runtime.py',
]

train_pipeline = [dict(_base_.train_pipeline[0], scale_range=(0.5, 1.0)), _base_.train_pipeline[1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=20000, max_keep_ckpts=3))
