# Linear probe of CRATE-S/8 (arXiv 2308.16271) on ImageNet-1k: a linear classifier on the frozen [CLS] token of the
# pre-trained backbone.
#   bash tools/dist_train.sh \
#       configs/classification/crate-emergence-small-p8_in21k-pre-8xb128-linear-coslr-100e_in1k.py 8
# No number is published for it. Not run here.
#
# The run starts from the file `model.backbone.init_cfg.checkpoint` below and stops before its first step where it is
# missing; another one: --cfg-options model.backbone.init_cfg.checkpoint=FILE
#
# The recipe is that of DINO's linear evaluation (arXiv 2104.14294): SGD, momentum 0.9, learning rate 0.001 per 256,
# which is 0.001 * 1024 / 256 = 0.004, no weight decay, batch 1024, 100 epochs, a cosine to zero, random resized crop
# and flip.
#
# frozen_stages=12 freezes the whole backbone, final norm included: the features are exactly those of the checkpoint.
_base_ = ['../_base_/datasets/imagenet_224.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='CRATE',
        arch='emergence-small',
        img_size=224,
        patch_size=8,
        frozen_stages=12,
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/crate-emergence-small-p8_in21k.pth', prefix='backbone.'
        ),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        init_cfg=dict(type='Normal', layer='Linear', std=0.01),
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
    ),
)

train_dataloader = dict(batch_size=128)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)

optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.004, momentum=0.9, weight_decay=0.0))
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True)
auto_scale_lr = dict(base_batch_size=1024, enable=True)
