# COCO 2017 without masks, as mmdet has it: $CRATE_DATA/coco with train2017/, val2017/ and
# annotations/instances_{train,val}2017.json.
_base_ = 'mmdet::_base_/datasets/coco_detection.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

data_root = f'{__data__}/coco'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=f'{data_root}/annotations/instances_val2017.json')
