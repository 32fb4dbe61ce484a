# "White-Box Transformers via Sparse Rate Reduction" (arXiv 2306.01129): CRATE, supervised on ImageNet-1k.
#   bash tools/dist_train.sh CONFIG 8
# Settings of the released training script and its example: Lion, batch 512, learning rate 2e-4, weight decay 0.05 on
# every parameter. Label smoothing 0.1, random resized crop and flip, 200 epochs. The learning rate rises over 20 epochs
# under a cosine. The script defines a clipping of the gradient and never applies it, so the gradient is not clipped.
_base_ = ['../models/classifier_in1k.py', '../datasets/imagenet_224.py', '../default_runtime.py']

__loss__ = dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
model = dict(head=dict(loss=__loss__))
train_dataloader = dict(batch_size=64)
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='Lion', lr=2e-4, weight_decay=0.05))
param_scheduler = dict(type='RampedCosineLR', ramp=20, by_epoch=True)
auto_scale_lr = dict(base_batch_size=512, enable=True)
