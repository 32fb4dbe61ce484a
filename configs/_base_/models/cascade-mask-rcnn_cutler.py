# mask-rcnn_cutler.py with mmdet's Cascade Mask R-CNN, the detector of CutLER's tables (arXiv 2301.11320).
_base_ = ['mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py', './cutler_r50.py']

model = dict(
    _base_.r50,
    roi_head=dict(
        bbox_head=[dict(head, num_classes=1) for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_classes=1),
    ),
)
