# MaskCut with the features of CRATE-MLP, S/8, on COCO val2017 (arXiv 2308.16271, Table 2).
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/test.py configs/maskcut/maskcut_crate-emergence-small-mlp-p8_1xb8_coco.py CHECKPOINT
# Published (Table 2): box AP50 0.2, AP75 0.2, AP 0.2. Not run here.
# CHECKPOINT: of configs/classification/crate-emergence-small-mlp-p8_16xb256-coslr-90e_in21k.py
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'

model = dict(backbone=dict(ffn_cfg=dict(type='MLP')))
