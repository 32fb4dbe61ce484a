# linear-seg.py on CamVid (11 classes): whole images, batches of 8, 400 iterations (8.7 epochs) on one CPU core.
#   python tools/train.py CONFIG --cfg-options randomness.seed=0
#   python tools/test.py CONFIG CHECKPOINT       # on the 233 images for testing; a training validates on the other 101
# From random weights: --cfg-options model.backbone.init_cfg=None
_base_ = ['./linear-seg.py', '../datasets/camvid_240x320.py']

model = dict(
    data_preprocessor=dict(size=(240, 320)),
    decode_head=dict(num_classes=11),
    test_cfg=dict(_delete_=True, mode='whole'),
)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [dict(_base_.param_scheduler[0], end=40), dict(_base_.param_scheduler[1], begin=40)]
train_cfg = dict(max_iters=400, val_interval=200)
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(logger=dict(interval=50), checkpoint=dict(interval=200, max_keep_ckpts=1))
