# coco_instance.py with the annotations of 1% of the training images: $CRATE_DATA/coco/semi_anns, written by mmdet's
# split_coco.py (docs/zero-shot.md). instances_train2017.FOLD@PERCENT.json is one of five draws.
_base_ = './coco_instance.py'

train_dataloader = dict(dataset=dict(ann_file='semi_anns/instances_train2017.1@1.json'))
