# Coarse segmentation by the attention of both parts of the ViT's layer in CRATE's embedding, S/8, on VOC 2012 val
# (arXiv 2308.16271, Table 2).
# Protocol and options are those of coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py; what follows is the difference.
#   python tools/test.py configs/segmentation/coarse-seg_crate-emergence-small-mhsa-mlp-p8_1xb8_voc2012.py CHECKPOINT
# Published (Table 2), for the ViT of that table: mIoU 14.1. Not run here. The ViT with its own embedding:
# coarse-seg_vit-small-p8_1xb8_voc2012.py.
# CHECKPOINT: of configs/classification/crate-emergence-small-mhsa-mlp-p8_16xb256-coslr-90e_in21k.py
_base_ = './coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py'

model = dict(backbone=dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP')))
