# The detector of CutLER (arXiv 2301.11320) with mmdet's Mask R-CNN. One class, one box for all classes, SyncBN, all
# layers trained. The RPN keeps 4,000 boxes after NMS at 0.65. The R50 is DINO's dino_resnet50_pretrain.pth as released.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

__norm__ = dict(type='SyncBN', requires_grad=True)
model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=__norm__,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/resnet50_dino.pth'),
    ),
    neck=dict(norm_cfg=__norm__),
    roi_head=dict(bbox_head=dict(num_classes=1, reg_class_agnostic=True), mask_head=dict(num_classes=1)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=4000, max_per_img=4000, nms=dict(iou_threshold=0.65))),
)
