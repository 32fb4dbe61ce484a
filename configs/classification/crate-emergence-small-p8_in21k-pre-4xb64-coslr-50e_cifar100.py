# CRATE-S/8 of arXiv 2308.16271, pre-trained on ImageNet-21k and fine-tuned on CIFAR-100 (Appendix C.2, Table 3).
#   bash tools/dist_train.sh configs/classification/crate-emergence-small-p8_in21k-pre-4xb64-coslr-50e_cifar100.py 4
# Published: top-1 84.1. Not run here.
#
# The run starts from the file `model.backbone.init_cfg.checkpoint` below and stops before its first step where it is
# missing. It comes from the released weights by
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-emergence-small-p8_in21k.pth \
#       --arch emergence-small
# or is a checkpoint of the pre-training here: --cfg-options model.backbone.init_cfg.checkpoint=FILE
#
# Published: AdamW, learning rate 5e-5, weight decay 0.01, batch 256 (128 for CRATE-B). Chosen here: 50 epochs, the
# schedule, the augmentation.
# Data: $CRATE_DATA/cifar100, downloaded by the first run.
_base_ = [
    '../_base_/datasets/cifar_224.py',
    '../_base_/schedules/adamw_finetune.py',
    '../_base_/default_runtime.py',
]
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='CRATE',
        arch='emergence-small',
        img_size=224,
        patch_size=8,
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/crate-emergence-small-p8_in21k.pth', prefix='backbone.'
        ),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        in_channels=384,
        init_cfg=None,  # torch's own draw, as in the released code
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
    ),
)

train_dataloader = dict(batch_size=64, dataset=dict(type='CIFAR100', data_root=f'{__data__}/cifar100'))
val_dataloader = dict(dataset=dict(type='CIFAR100', data_root=f'{__data__}/cifar100'))
test_dataloader = val_dataloader
train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=1)
auto_scale_lr = dict(base_batch_size=256, enable=True)
