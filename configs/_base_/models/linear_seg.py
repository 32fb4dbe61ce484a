# The linear probe of a frozen backbone for segmentation, as in DINOv2 (arXiv 2304.07193): the last layer's map, after
# the final norm, through a batch normalisation and a 1 x 1 convolution, which are all that is trained. The result is
# upsampled from the patches to the pixels.
#
# The leaf says which backbone: its `arch`, `patch_size` and `init_cfg`; its width, three times; and `num_classes`.
# `img_size` is that of the pre-training: positions are interpolated to the crop. Attention is global whatever the patch
# size, as in the pre-training: what is measured is the backbone as it is.
# Testing slides a window of the crop's size by two thirds of it.
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
    backbone=dict(type='CRATE', img_size=224, out_type='featmap', frozen_stages=12),
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
