# MaskCut with the keys of CRATE-MHSA, S/8, on COCO val2017 (arXiv 2308.16271, Table 2).
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/test.py configs/maskcut/maskcut_crate-emergence-small-mhsa-p8_1xb8_coco.py CHECKPOINT
# Published (Table 2): box AP50 0.1, AP75 0.1, AP 0.0. Not run here.
# CHECKPOINT: of configs/classification/crate-emergence-small-mhsa-p8_8xb512-coslr-90e_in21k.py
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'

model = dict(backbone=dict(attn_cfg=dict(type='MHSA')))
