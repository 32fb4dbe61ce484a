# MaskCut with the features of a small CRATE on the generated sample set: its 200 validation scenes, 96 high and 128
# wide, as they are, a grid of 24 x 32 tokens.
# Its options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/make_sample_set.py data/sample
#   python tools/train.py configs/classification/crate-w128d5-p4_1xb48-coslr-400i_sample-48px.py
#   python tools/test.py configs/maskcut/maskcut_crate-w128d5-p4_1xb8_sample-96x128px.py \
#       work_dirs/crate-w128d5-p4_1xb48-coslr-400i_sample-48px/iter_400.pth
# Measured here with the checkpoint of `make demo`, seed 0, in percent: box AP50 2.26, AP75 0.59, AP 0.87; mask AP50
# 1.09, AP75 0.12, AP 0.31 (order='as given'). Most masks miss the small objects: a set to try the commands on.
# Data: $CRATE_DATA/sample/coco with val2017/ and annotations/instances_val2017.json.
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(
    backbone=dict(
        _delete_=True,
        type='CRATE',
        arch=dict(embed_dims=128, num_heads=4, num_layers=5),
        img_size=48,
        patch_size=4,
        init='alpha',
    ),
    layer=4,
)
test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='Resize', scale=(128, 96), keep_ratio=False, backend='pillow', interpolation='lanczos'),
    dict(type='PackDetInputs'),
]
test_dataloader = dict(
    num_workers=1,
    dataset=dict(data_root=f'{__data__}/sample/coco', pipeline=test_pipeline),
)
test_evaluator = dict(ann_file=f'{__data__}/sample/coco/annotations/instances_val2017.json')
