# Fine-tuning of CRATE (arXiv 2308.16271, Appendix C.2 and Table 3) from the weights of ImageNet-21k, on ImageNet-1k.
#   bash tools/dist_train.sh CONFIG 4
# Another file of weights: --cfg-options model.backbone.init_cfg.checkpoint=FILE
# Published: AdamW, learning rate 5e-5, weight decay 0.01, batch 256 (128 for CRATE-B). Weight decay acts on every
# parameter: no exception is published. Chosen here: 20 epochs (50 on the other data sets, whose recipes are built on
# this one), a cosine to zero, the augmentation.
_base_ = ['../models/classifier_in1k.py', '../datasets/imagenet_224.py', '../default_runtime.py']

train_dataloader = dict(batch_size=64)
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=5e-5, weight_decay=0.01))
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, convert_to_iter_based=True)
auto_scale_lr = dict(base_batch_size=256, enable=True)
