# maskcut_coco.py on 128 photographs of COCO train2017, with the last of six layers.
# Data: $CRATE_DATA/coco128 with train2017/ and annotations/instances_train2017.json, cut to the images there are.
_base_ = './maskcut_coco.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(layer=5)
__annotations__ = 'annotations/instances_train2017.json'
__coco128__ = dict(data_root=f'{__data__}/coco128', ann_file=__annotations__, data_prefix=dict(img='train2017/'))
test_dataloader = dict(num_workers=2, dataset=__coco128__)
test_evaluator = dict(ann_file=f'{__data__}/coco128/{__annotations__}')
