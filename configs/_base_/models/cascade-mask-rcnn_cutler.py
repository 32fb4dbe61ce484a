# mask-rcnn_cutler.py with mmdet's Cascade Mask R-CNN, the detector of CutLER's tables (arXiv 2301.11320).
_base_ = 'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py'

__norm__ = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=__norm__,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/resnet50_dino.pth'),
    ),
    neck=dict(norm_cfg=__norm__),
    roi_head=dict(
        bbox_head=[dict(head, num_classes=1) for head in _base_.model.roi_head.bbox_head],
        mask_head=dict(num_classes=1),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=4000, max_per_img=4000, nms=dict(iou_threshold=0.65))),
)
