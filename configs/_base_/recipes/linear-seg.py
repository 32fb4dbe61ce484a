# The linear probe of a frozen backbone for segmentation, as in DINOv2 (arXiv 2304.07193). The last layer's map, after
# the final norm, goes through a batch normalisation and a 1 x 1 convolution. Only these two are trained. The result is
# upsampled from the patches to the pixels.
#   bash tools/dist_train.sh CONFIG 8
# `img_size` is the size of the pre-training: positions are interpolated to the crop. Attention is global for every
# patch size, as in the pre-training. Chosen here: testing slides a window of the crop's size by two thirds of it.
# AdamW, learning rate 1e-3, weight decay 1e-4, mixed precision.
_base_ = '../schedules/poly_40k.py'

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(out_type='featmap', frozen_stages=12),
    neck=dict(type='BatchNormNeck'),
    decode_head=dict(
        type='FCNHead',
        in_index=0,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)

optim_wrapper = dict(
    _delete_=True,
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4),
)
