# CRATE-MHSA, S/8: the ViT's attention in place of MSSA (arXiv 2308.16271, Table 2).
# The recipe is that of crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, where it is explained; what follows is the
# difference.
#   bash tools/dist_train.sh configs/classification/crate-emergence-small-mhsa-p8_8xb512-coslr-90e_in21k.py 8
# Published, for these weights: coarse segmentation 18.4 mIoU on VOC 2012 val; MaskCut on COCO val2017 0.0 box AP. Not
# run here.
_base_ = './crate-emergence-small-p8_8xb512-coslr-90e_in21k.py'

model = dict(backbone=dict(attn_cfg=dict(type='MHSA')))
