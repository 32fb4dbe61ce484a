# CRATE-alpha-L/14 of arXiv 2405.20299: pre-training on ImageNet-21k with weights, gradients and optimiser spread over
# the GPUs. Sharded by mmengine's FSDP strategy: for GPUs too small for the plain config. Departure from the recipe: no
# gradient clipping, since mmengine's OptimWrapper would clip each process's shard by the norm of that shard alone.
# The recipe is that of crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py, where it is explained; what follows is
# the difference.
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/classification/crate-alpha-large-p14_32xb128-fsdp-mixup-coslr-91e_in21k.py 8
# Nothing is published of these weights before the second stage. Not run here.
_base_ = ['./crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py', '../_base_/strategies/fsdp.py']

model = dict(backbone=dict(arch='alpha-large', patch_size=14), head=dict(in_channels=1024))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(clip_grad=None)
