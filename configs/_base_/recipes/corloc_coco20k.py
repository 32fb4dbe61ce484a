# corloc_voc2007.py on COCO20k, 19,817 images of COCO train2014 (arXiv 2007.02662); crowds do not count.
# Data: $CRATE_DATA/coco with train2014/ and annotations/coco20k_trainval_gt.json, the file that CutLER links.
_base_ = './corloc_voc2007.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

__split__ = dict(ann_file='annotations/coco20k_trainval_gt.json', data_prefix=dict(_delete_=True, img='train2014/'))
test_dataloader = dict(dataset=dict(__split__, type='CocoDataset', data_root=f'{__data__}/coco'))
test_evaluator = dict(count_ignored=False)
