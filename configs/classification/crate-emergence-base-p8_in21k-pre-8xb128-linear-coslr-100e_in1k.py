# Linear probe of CRATE-B/8 (arXiv 2308.16271) on ImageNet-1k.
# The recipe is that of crate-emergence-small-p8_in21k-pre-8xb128-linear-coslr-100e_in1k.py, where it is explained; what
# follows is the difference.
#   bash tools/dist_train.sh configs/classification/crate-emergence-base-p8_in21k-pre-8xb128-linear-coslr-100e_in1k.py 8
# No number is published for it. Not run here.
_base_ = './crate-emergence-small-p8_in21k-pre-8xb128-linear-coslr-100e_in1k.py'

model = dict(
    backbone=dict(arch='emergence-base', init_cfg=dict(checkpoint='checkpoints/crate-emergence-base-p8_in21k.pth')),
    head=dict(in_channels=768),
)
