# tinyimagenet100_4000i.py at the learning rate of the ViT (docs/experiments/evidence.md).
_base_ = './tinyimagenet100_4000i.py'

optim_wrapper = dict(optimizer=dict(lr=1.5e-4))
