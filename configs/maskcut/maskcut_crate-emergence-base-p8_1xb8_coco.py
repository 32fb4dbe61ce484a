# MaskCut with the features of CRATE-B/8 on COCO val2017 (arXiv 2308.16271, Table 1 and Figure 6).
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/test.py configs/maskcut/maskcut_crate-emergence-base-p8_1xb8_coco.py CHECKPOINT
# Published (Table 1): box AP50 2.9, AP75 1.0, AP 1.3; mask AP50 2.2, AP75 0.7, AP 1.0. Not run here.
# CHECKPOINT: of configs/classification/crate-emergence-base-p8_16xb256-coslr-90e_in21k.py, or the released weights:
#   python tools/model_converters/crate_to_mm.py SRC CHECKPOINT --arch emergence-base
# The released "demo" weights have 6 heads: arch=dict(embed_dims=768, num_heads=6, num_layers=12).
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'

model = dict(backbone=dict(arch='emergence-base'))
