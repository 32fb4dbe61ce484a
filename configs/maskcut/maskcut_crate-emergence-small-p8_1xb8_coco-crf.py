# MaskCut with the features of CRATE-S/8 on COCO val2017, every mask refined by a dense CRF (arXiv 2301.11320).
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/test.py configs/maskcut/maskcut_crate-emergence-small-p8_1xb8_coco-crf.py CHECKPOINT
# No number is published for it. Not run here. It needs the extra `crf`: pip install pydensecrf2
# CHECKPOINT: of configs/classification/crate-emergence-small-p8_8xb512-coslr-90e_in21k.py
# The other models: --cfg-options model.crf=True
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'

model = dict(crf=True)
