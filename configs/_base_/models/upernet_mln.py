# UPerNet (arXiv 1807.10221) on a plain backbone: mmseg's model for the ViT, with CRATE in its place. Neck, heads and
# losses are mmseg's.
#
# The leaf says which backbone: its `arch`, `patch_size` and `init_cfg`, and `num_classes` of both heads; and where the
# backbone is not 768 wide, `in_channels` of neck and heads. `img_size` is that of the pre-training: positions are
# interpolated to the crop.
#
# Maps of the third, sixth, ninth and twelfth layer. MultiLevelNeck resizes them to the strides 4, 8, 16 and 32 that
# UPerHead is built for, by patch_size / stride: [4, 2, 1, 0.5] for patch 16, as here, and [2, 1, 0.5, 0.25] for patch
# 8, which the leaf has to say.
# Chosen here, as in mmseg's MAE at this size: drop path rate 0.1; testing slides a window of the crop's size by two
# thirds of it.
# SyncBN of the heads needs GPUs; our tools make it BN where a run has one process, or no GPU.
_base_ = 'mmseg::_base_/models/upernet_vit-b16_ln_mln.py'

model = dict(
    pretrained=None,  # here it is the backbone's init_cfg
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        _delete_=True,
        type='CRATE',
        img_size=224,
        out_indices=(2, 5, 8, 11),
        out_type='featmap',
        drop_path_rate=0.1,
    ),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
