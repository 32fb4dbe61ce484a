# The schedule of a round of self-training: half as long as CutLER's first training, at half the learning rate. Chosen
# here: the learning rate falls after 60,000 iterations.
_base_ = './cutler_160k.py'

train_cfg = dict(max_iters=80000)
optim_wrapper = dict(optimizer=dict(lr=0.005))
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=80000, milestones=[60000])]
