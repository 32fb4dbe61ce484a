# CRATE-alpha-L/14 of arXiv 2405.20299: pre-training on ImageNet-21k with weights, gradients and optimiser spread over
# the GPUs. Sharded by DeepSpeed ZeRO 3, which clips by the norm of all shards; needs `pip install deepspeed` and GPUs.
# The recipe is that of crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py, where it is explained; what follows is
# the difference.
#   NNODES=4 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/classification/crate-alpha-large-p14_32xb128-deepspeed-mixup-coslr-91e_in21k.py 8
# Nothing is published of these weights before the second stage. Not run here.
_base_ = ['./crate-alpha-base-p16_16xb256-mixup-coslr-91e_in21k.py', '../_base_/strategies/deepspeed.py']

model = dict(backbone=dict(arch='alpha-large', patch_size=14), head=dict(in_channels=1024))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    _delete_=True,
    type='DeepSpeedOptimWrapper',
    optimizer=dict(type='AdamW', lr=8e-4, betas=(0.9, 0.95), weight_decay=0.1),
)
