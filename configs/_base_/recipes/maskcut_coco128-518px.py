# maskcut_coco128.py for DINOv2's ViT: images of 518 x 518 (37 x 37 tokens of patch 14), the last of twelve layers, its
# values. Its keys share a large part, so that every cosine exceeds tau. Masks are ranked by their round.
_base_ = './maskcut_coco128.py'

model = dict(layer=11, facet='value', score='round')
test_pipeline = [dict(step, scale=(518, 518)) if step.type == 'Resize' else step for step in _base_.test_pipeline]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
