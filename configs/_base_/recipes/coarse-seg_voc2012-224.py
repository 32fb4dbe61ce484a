# coarse-seg_voc2012.py at 224 x 224, for a backbone trained at 64 x 64: 8 x 8 positions become 28 x 28.
_base_ = './coarse-seg_voc2012.py'

test_pipeline = [dict(step, scale=(224, 224)) if step.type == 'Resize' else step for step in _base_.test_pipeline]
test_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline))
