# mmdet's RetinaNet on COCO: mask-rcnn_12e.py, whose header says what is chosen, with this detector.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '../datasets/coco_detection.py',
    '../schedules/detection_12e.py',
    '../mmdet_runtime.py',
    '../tta/detection.py',
]

model = dict(
    backbone=dict(_delete_=True, out_type='featmap', window_size=14, drop_path_rate=0.1),
    neck=dict(_delete_=True, type='SimpleFPN', out_strides=(8, 16, 32, 64, 128)),
)
