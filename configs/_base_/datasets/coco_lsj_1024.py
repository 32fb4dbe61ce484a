# coco_instance.py with large-scale jitter (arXiv 2203.16527 and before it 2012.07177). In training, an image is resized
# to fit into a square of 0.1 to 2.0 times 1024. A larger result is cut to 1024 x 1024; half of the images are flipped.
# In testing, it is resized to fit into 1024 x 1024. The model pads to the full square.
_base_ = './coco_instance.py'

train_pipeline = [
    dict(type='LoadImageOrSkip'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=(1024, 1024), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(1024, 1024), recompute_bbox=True, allow_negative_crop=True),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1024, 1024), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    batch_sampler=None,  # mmdet's puts images of one orientation together; here all are square
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
