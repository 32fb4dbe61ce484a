# CRATE-sth, S/8: ISTA with the sign-preserving soft threshold (arXiv 2308.16271, Figure 13).
# Published of it: attention maps, no number. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-sth-p8.py', '../_base_/recipes/emergence_90e_in21k.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
