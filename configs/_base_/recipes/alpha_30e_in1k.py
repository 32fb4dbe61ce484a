# CRATE-alpha (arXiv 2405.20299): the second stage, on ImageNet-1k, from the weights of the first.
#   bash tools/dist_train.sh CONFIG 8
# Published: learning rate 1e-5 per 256, label smoothing 0.1. Chosen here: batch 1024, so 1e-5 * 1024 / 256 = 4e-5. 30
# epochs, a cosine to zero. Betas, weight decay and clipping are those of the first stage. Random resized crop and flip.
_base_ = ['../models/classifier_in1k.py', '../datasets/imagenet_224.py', '../default_runtime.py']

__init_cfg__ = dict(_delete_=True, type='Normal', layer='Linear', std=0.02)
__loss__ = dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
model = dict(head=dict(init_cfg=__init_cfg__, loss=__loss__))
train_dataloader = dict(batch_size=128)
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=4e-5, betas=(0.9, 0.95), weight_decay=0.1), clip_grad=dict(max_norm=1.0)
)
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, convert_to_iter_based=True)
auto_scale_lr = dict(base_batch_size=1024, enable=True)
