# mmdet's Mask R-CNN as a detector of CutLER: cutler_r50.py, one class, and one box for all classes.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './cutler_r50.py']

model = dict(
    _base_.r50,
    roi_head=dict(bbox_head=dict(num_classes=1, reg_class_agnostic=True), mask_head=dict(num_classes=1)),
)
