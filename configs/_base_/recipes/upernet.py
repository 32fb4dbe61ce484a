# UPerNet (arXiv 1807.10221) on a plain backbone: mmseg's model for the ViT, with CRATE in its place. Neck, heads and
# losses are mmseg's.
#   bash tools/dist_train.sh CONFIG 8
# UPerNet reads the maps of the third, sixth, ninth and twelfth layer. MultiLevelNeck resizes them to the strides 4, 8,
# 16 and 32 of UPerHead, by patch_size / stride: [4, 2, 1, 0.5] for patch 16, as here. For patch 8, the leaf sets
# [2, 1, 0.5, 0.25] and windows of 32 x 32 patches, four in a crop; the pre-training had 28 x 28 patches. The four
# layers whose maps are read stay global. `img_size` is the size of the pre-training: positions are interpolated.
# SyncBN of the heads needs GPUs; our tools make it BN if a run has one process or no GPU.
# Chosen here, as in mmseg's MAE at this size: drop path rate 0.1, learning rate 1e-4, weight decay 0.05, mixed
# precision. Testing slides a window of the crop's size by two thirds of it. Layer-wise decay of the learning rate by
# 0.7, as in this project's detectors. No weight decay on norms, biases, [CLS] and positions.
_base_ = ['mmseg::_base_/models/upernet_vit-b16_ln_mln.py', '../schedules/poly_40k.py']

model = dict(
    pretrained=None,  # here it is the backbone's init_cfg
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(_delete_=True, out_indices=(2, 5, 8, 11), out_type='featmap', drop_path_rate=0.1),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)

optim_wrapper = dict(
    _delete_=True,
    type='AmpOptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0)),
    ),
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
