# upernet.py on ADE20K (150 classes), 160,000 iterations, as in mmseg's ViT, BEiT and MAE.
_base_ = ['./upernet.py', '../datasets/ade20k_512.py']

model = dict(decode_head=dict(num_classes=150), auxiliary_head=dict(num_classes=150))
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
