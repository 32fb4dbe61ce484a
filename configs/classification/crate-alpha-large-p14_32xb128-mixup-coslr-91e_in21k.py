# CRATE-alpha-L/14 of arXiv 2405.20299: pre-training on ImageNet-21k.
# The recipe is that of crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py, where it is explained; what follows is
# the difference.
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/classification/crate-alpha-large-p14_32xb128-mixup-coslr-91e_in21k.py 8
# Nothing is published of these weights before the second stage. Not run here.
_base_ = './crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py'

model = dict(backbone=dict(arch='alpha-large', patch_size=14), head=dict(in_channels=1024))
train_dataloader = dict(batch_size=128)
