# Coarse segmentation by the attention of CRATE-B/8 on VOC 2012 val (arXiv 2308.16271, Figure 4b).
# Protocol and options are those of coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py; what follows is the difference.
#   python tools/test.py configs/segmentation/coarse-seg_crate-emergence-base-p8_1xb8_voc2012.py CHECKPOINT
# Published (Figure 4b): mIoU 23.6. Not run here.
# CHECKPOINT: of configs/classification/crate-emergence-base-p8_16xb256-coslr-90e_in21k.py, or the released weights:
#   python tools/model_converters/crate_to_mm.py SRC CHECKPOINT --arch emergence-base
# The released "demo" weights have 6 heads: arch=dict(embed_dims=768, num_heads=6, num_layers=12).
_base_ = './coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py'

model = dict(backbone=dict(arch='emergence-base'))
