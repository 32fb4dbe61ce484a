# mmdet's DINO with CRATE-S/8 (arXiv 2308.16271) on COCO: four scales, 12 epochs.
#   bash tools/dist_train.sh configs/detection/dino_crate-emergence-small-p8_in21k-pre-8xb2-step-12e_coco.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# the last checkpoint of configs/classification/crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, or the released
# weights, converted:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-emergence-small-p8_in21k.pth \
#       --arch emergence-small
#
# Transformer, images and schedule are mmdet's own, and so is the tenth of the learning rate for the backbone. Chosen
# here: the simple pyramid (arXiv 2203.16527) of strides 8 to 64 in place of ChannelMapper; a drop path rate of 0.1;
# images padded to a multiple of the coarsest stride, so that all levels divide them.
# Memory: windows of 14 x 14 patches in all layers but the third, sixth, ninth and twelfth; --amp saves more.
#
# Data: $CRATE_DATA/coco with train2017/, val2017/ and annotations/instances_{train,val}2017.json.
_base_ = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(pad_size_divisor=64),
    backbone=dict(
        _delete_=True,
        type='CRATE',
        arch='emergence-small',
        img_size=224,
        patch_size=8,
        out_type='featmap',
        window_size=14,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/crate-emergence-small-p8_in21k.pth', prefix='backbone.'
        ),
    ),
    neck=dict(_delete_=True, type='SimpleFPN', in_channels=384, in_stride=8, out_strides=(8, 16, 32, 64)),
)

data_root = f'{__data__}/coco'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root}/annotations/instances_val2017.json')
test_evaluator = val_evaluator
auto_scale_lr = dict(enable=True)
