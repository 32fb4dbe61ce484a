# MaskCut with both parts of the ViT's layer in CRATE's embedding, S/8, on COCO val2017 (arXiv 2308.16271, Table 2).
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   python tools/test.py configs/maskcut/maskcut_crate-emergence-small-mhsa-mlp-p8_1xb8_coco.py CHECKPOINT
# Published (Table 2), for the ViT of that table: box AP50 0.1, AP75 0.1, AP 0.0. Not run here. The ViT with its own
# embedding: maskcut_vit-small-p8_1xb8_coco.py.
# CHECKPOINT: of configs/classification/crate-emergence-small-mhsa-mlp-p8_16xb256-coslr-90e_in21k.py
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'

model = dict(backbone=dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP')))
