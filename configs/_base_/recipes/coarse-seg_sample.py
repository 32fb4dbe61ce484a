# coarse-seg_voc2012.py on the generated sample set: its 200 validation scenes as they are, a grid of 24 x 32 tokens.
_base_ = ['./coarse-seg_voc2012.py', '../datasets/sample_voc.py']

test_pipeline = [
    dict(type='LoadImageOrSkip', skip=False),
    dict(type='Resize', scale=(128, 96), keep_ratio=False, backend='pillow', interpolation='lanczos'),
    dict(type='LoadLabelMap', num_classes=9),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(num_workers=1, dataset=dict(_base_.dataset, pipeline=test_pipeline))
