# A part of `python tools/experiments/emergence.py --budget evidence`: tinyimagenet100_1750i.py for 10.2 epochs, all at
# 64 x 64, in bfloat16 (docs/experiments/evidence.md: what a training step costs).
_base_ = './tinyimagenet100_1750i.py'

train_cfg = dict(max_iters=4000, val_interval=4000)
optim_wrapper = dict(type='AutocastOptimWrapper')
param_scheduler = [dict(_base_.param_scheduler[0], end=200), dict(_base_.param_scheduler[1], begin=200)]
default_hooks = dict(checkpoint=dict(interval=1000))
custom_hooks = [dict(type='ClassNumCheckHook')]
