# MaskCut with the features of CRATE-S/8 on COCO val2017, every mask refined by a dense CRF (arXiv 2301.11320). It needs
# the extra `crf`: pip install pydensecrf2. No number is published for it. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-small-p8.py', '../_base_/recipes/maskcut_coco.py']

model = dict(backbone=_base_.backbone, crf=True)
