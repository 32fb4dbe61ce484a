# Coarse segmentation by the attention of CRATE-MHSA, S/8, on VOC 2012 val (arXiv 2308.16271, Table 2).
# Protocol and options are those of coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py; what follows is the difference.
#   python tools/test.py configs/segmentation/coarse-seg_crate-emergence-small-mhsa-p8_1xb8_voc2012.py CHECKPOINT
# Published (Table 2): mIoU 18.4. Not run here.
# CHECKPOINT: of configs/classification/crate-emergence-small-mhsa-p8_8xb512-coslr-90e_in21k.py
_base_ = './coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py'

model = dict(backbone=dict(attn_cfg=dict(type='MHSA')))
