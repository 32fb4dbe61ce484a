# A linear classifier on the frozen [CLS] token of a backbone, on ImageNet-1k.
#   bash tools/dist_train.sh CONFIG 8
# As DINO's linear evaluation (arXiv 2104.14294): SGD, momentum 0.9, batch 1024, no weight decay. Learning rate 0.001
# per 256, which is 0.001 * 1024 / 256 = 0.004. 100 epochs, a cosine to zero, random resized crop and flip.
# `frozen_stages=12` freezes the whole backbone with its final norm: the features are exactly those of the checkpoint.
_base_ = ['../models/classifier_in1k.py', '../datasets/imagenet_224.py', '../default_runtime.py']

__init_cfg__ = dict(_delete_=True, type='Normal', layer='Linear', std=0.01)
model = dict(backbone=dict(frozen_stages=12), head=dict(init_cfg=__init_cfg__))
train_dataloader = dict(batch_size=128)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.004, momentum=0.9, weight_decay=0.0))
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True)
auto_scale_lr = dict(base_batch_size=1024, enable=True)
