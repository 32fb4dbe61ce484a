# MaskCut with the features of a small CRATE on the generated sample set. Measured here with the checkpoint of `make
# demo`, seed 0, in percent: box AP50 2.26, AP75 0.59, AP 0.87; mask AP50 1.09, AP75 0.12, AP 0.31 (order='as given').
_base_ = ['../_base_/backbones/crate-w128d5-p4.py', '../_base_/recipes/maskcut_sample.py']

model = dict(backbone=_base_.backbone)
