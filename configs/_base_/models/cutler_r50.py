# What mmdet's R-CNNs get as detectors of CutLER (arXiv 2301.11320): SyncBN, and all layers trained. The RPN keeps 4,000
# boxes after NMS at 0.65. The R50 is DINO's dino_resnet50_pretrain.pth as released.
__norm__ = dict(type='SyncBN', requires_grad=True)
r50 = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=__norm__,
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='Pretrained', checkpoint='checkpoints/resnet50_dino.pth'),
    ),
    neck=dict(norm_cfg=__norm__),
    train_cfg=dict(rpn_proposal=dict(nms_pre=4000, max_per_img=4000, nms=dict(iou_threshold=0.65))),
)
