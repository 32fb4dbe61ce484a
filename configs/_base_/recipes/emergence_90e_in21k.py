# "Emergence of Segmentation with Minimalistic White-Box Transformers" (arXiv 2308.16271), Appendix C.1: CRATE and its
# baselines, supervised on ImageNet-21k.
#   bash tools/dist_train.sh CONFIG 8           16 and 32 GPUs: NNODES=2 (4) NODE_RANK=... MASTER_ADDR=... in front
# The appendix gives: Lion, batch 4096, learning rate 9.6e-5, weight decay 0.05, 90 epochs. Images are resized to
# 224 x 224, then centre crop (which changes nothing at 224 x 224), then random flip. It gives no schedule: we use the
# factor of the code for arXiv 2306.01129. It excepts nothing from weight decay: norms, biases and tokens decay too.
# 512 images of CRATE-S with their activations in fp32 are about 50 GB; --amp takes less.
#
# Data: $CRATE_DATA/imagenet21k/{train,val}/<wnid>/*.JPEG, 21,841 folders; meta/train.txt beside train/, one line
# "<wnid>/<file> <label>" per image, saves scanning the folders. The released heads have 21,842 outputs; one of them
# never gets a label.
_base_ = ['../datasets/imagenet21k_224.py', '../default_runtime.py']

data_preprocessor = dict(num_classes=21842)
model = dict(
    type='ImageClassifier',
    head=dict(
        type='LinearClsHead',
        num_classes=21842,
        init_cfg=None,  # torch's own draw, as in the released code
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
)

__resize__ = dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic')
train_pipeline = [
    dict(type='LoadImageOrSkip'),
    __resize__,
    dict(type='CenterCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), __resize__, dict(type='PackInputs')]
__images__ = dict(_delete_=True, type='ImageNet21k', data_root=_base_.train_dataloader.dataset.data_root, split='train')
train_dataloader = dict(batch_size=512, dataset=dict(__images__, pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
train_cfg = dict(by_epoch=True, max_epochs=90)
optim_wrapper = dict(optimizer=dict(type='Lion', lr=9.6e-5, weight_decay=0.05))
param_scheduler = dict(type='RampedCosineLR', ramp=20, by_epoch=True)
auto_scale_lr = dict(base_batch_size=4096, enable=True)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))  # Figure 10 follows segmentation over the epochs
