# A small UPerNet on the generated sample set, on the small CRATE of `make demo`: minutes on one CPU core.
# Measured here, seed 0, from the checkpoint of `make demo`: mIoU 72.9 after 143 s of one thread, 68.7 after half of the
# iterations. From nothing, with model.backbone.init_cfg=None: 78.6 and 72.5, so that the pre-training does not help
# here. Chance, all background: 9.0.
_base_ = ['../_base_/backbones/crate-w128d5-p4.py', '../_base_/recipes/upernet_sample.py']

model = dict(backbone=_base_.pretrained)
