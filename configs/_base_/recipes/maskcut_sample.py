# maskcut_coco.py on the 200 validation scenes of the generated sample set, with the last of five layers. Scenes are 96
# high and 128 wide: a grid of 24 x 32 tokens. Most masks miss the small objects; use it to try the commands.
# Data: $CRATE_DATA/sample/coco with val2017/ and annotations/instances_val2017.json.
_base_ = './maskcut_coco.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(layer=4)
test_pipeline = [dict(step, scale=(128, 96)) if step.type == 'Resize' else step for step in _base_.test_pipeline]
test_dataloader = dict(num_workers=1, dataset=dict(data_root=f'{__data__}/sample/coco', pipeline=test_pipeline))
test_evaluator = dict(ann_file=f'{__data__}/sample/coco/annotations/instances_val2017.json')
