# CRATE-alpha-B/16 of arXiv 2405.20299: the second stage, on ImageNet-1k, from the pre-trained weights.
#   bash tools/dist_train.sh configs/classification/crate-alpha-base-p16_in21k-pre-8xb128-coslr-30e_in1k.py 8
# Not run here.
#
# The run starts from the file `model.backbone.init_cfg.checkpoint` below and stops before its first step where it is
# missing. The last checkpoint of the pre-training will do: --cfg-options model.backbone.init_cfg.checkpoint=FILE
#
# Published: learning rate 1e-5 per 256, label smoothing 0.1. Chosen here: batch 1024, so 1e-5 * 1024 / 256 = 4e-5; 30
# epochs, a cosine to zero; betas, weight decay and clipping of the first stage; random resized crop and flip.
_base_ = ['../_base_/datasets/imagenet_224.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='CRATE',
        arch='alpha-base',
        img_size=224,
        patch_size=16,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-alpha-base-p16_in21k.pth', prefix='backbone.'),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        init_cfg=dict(type='Normal', layer='Linear', std=0.02),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        topk=(1, 5),
    ),
)

train_dataloader = dict(batch_size=128)
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=4e-5, betas=(0.9, 0.95), weight_decay=0.1), clip_grad=dict(max_norm=1.0)
)
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, convert_to_iter_based=True)
auto_scale_lr = dict(base_batch_size=1024, enable=True)
