# mmdet's Mask R-CNN on COCO: heads, images (1333 x 800) and 12 epochs are mmdet's own.
#   bash tools/dist_train.sh CONFIG 8
# Chosen here: a drop path rate of 0.1, that of ViTDet-B (arXiv 2203.16527), for every size; AdamW (see the schedule).
# Memory: windows of 14 x 14 patches in all layers but the third, sixth, ninth and twelfth.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../datasets/coco_instance.py',
    '../schedules/detection_12e.py',
    '../mmdet_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, out_type='featmap', window_size=14, drop_path_rate=0.1),
    neck=dict(_delete_=True, type='SimpleFPN', out_strides=(4, 8, 16, 32, 64)),
)
