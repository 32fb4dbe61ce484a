# A part of `python tools/experiments/emergence.py --budget gpu`: tinyimagenet100_1750i.py for one data-centre GPU. 30.7
# epochs in bfloat16, all at 64 x 64; the images stay on the GPU, and are cut and flipped there.
_base_ = './tinyimagenet100_1750i.py'

train_dataloader = dict(batch_size=512)
train_cfg = dict(max_iters=3000, val_interval=500)
optim_wrapper = dict(type='AutocastOptimWrapper')
param_scheduler = [dict(_base_.param_scheduler[0], end=150), dict(_base_.param_scheduler[1], begin=150)]
auto_scale_lr = dict(base_batch_size=512)
default_hooks = dict(checkpoint=dict(interval=500))
custom_hooks = [dict(type='ClassNumCheckHook')]
