# CRATE-alpha-L/14 of arXiv 2405.20299, pre-trained on ImageNet-21k. Sharded by FSDP, for GPUs too small for the plain
# config. Departure from the recipe: no gradient clipping, since mmengine's OptimWrapper would clip each process's shard
# by the norm of that shard alone. Not run here.
_base_ = [
    '../_base_/backbones/crate-alpha-large-p14.py',
    '../_base_/recipes/alpha_91e_in21k.py',
    '../_base_/strategies/fsdp.py',
]

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(clip_grad=None)
