# CRATE-MLP, S/8: the ViT's feed-forward block in place of ISTA (arXiv 2308.16271, Table 2).
# The recipe is that of crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, where it is explained; what follows is the
# difference.
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/classification/crate-emergence-small-mlp-p8_16xb256-coslr-90e_in21k.py 8
# Published, for these weights: coarse segmentation 22.0 mIoU on VOC 2012 val; MaskCut on COCO val2017 0.2 box AP. Not
# run here.
_base_ = './crate-emergence-small-p8_8xb512-coslr-90e_in21k.py'

model = dict(backbone=dict(ffn_cfg=dict(type='MLP')))
train_dataloader = dict(batch_size=256)
