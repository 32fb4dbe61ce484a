# CRATE-alpha-L/14 of arXiv 2405.20299: the second stage, on ImageNet-1k, from the pre-trained weights.
# The recipe is that of crate-alpha-base-p16_in21k-pre-8xb128-coslr-30e_in1k.py, where it is explained; what follows is
# the difference.
#   bash tools/dist_train.sh configs/classification/crate-alpha-large-p14_in21k-pre-8xb128-coslr-30e_in1k.py 8
# Not run here.
_base_ = './crate-alpha-base-p16_in21k-pre-8xb128-coslr-30e_in1k.py'

model = dict(
    backbone=dict(
        arch='alpha-large', patch_size=14, init_cfg=dict(checkpoint='checkpoints/crate-alpha-large-p14_in21k.pth')
    ),
    head=dict(in_channels=1024),
)
