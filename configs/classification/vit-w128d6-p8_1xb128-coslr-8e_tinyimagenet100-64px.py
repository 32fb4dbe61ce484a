# The ViT beside crate-w128d6-p8_1xb128-coslr-8e_tinyimagenet100-64px.py: same sizes, data and recipe.
# Measured here, seed 1764569066, one CPU thread beside other work: top-1 27.3%.
_base_ = ['../_base_/backbones/vit-w128d6-p8.py', '../_base_/recipes/tinyimagenet100_8e.py']

model = dict(backbone=_base_.backbone, head=dict(in_channels=_base_.width))
