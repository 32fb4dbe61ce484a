# maskcut_coco128.py for DINOv2's ViT: images of 518 x 518 (37 x 37 tokens of patch 14), the last of twelve layers, its
# values. Its keys share a large part, so that every cosine exceeds tau. Masks are ranked by their round.
_base_ = './maskcut_coco128.py'

model = dict(layer=11, facet='value', score='round')
test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='Resize', scale=(518, 518), keep_ratio=False, backend='pillow', interpolation='lanczos'),
    dict(type='PackDetInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
