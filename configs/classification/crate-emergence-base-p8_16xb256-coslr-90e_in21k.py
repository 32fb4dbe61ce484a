# CRATE-B/8 of arXiv 2308.16271, supervised on ImageNet-21k, Appendix C.1.
# The recipe is that of crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, where it is explained; what follows is the
# difference.
#   NNODES=2 NODE_RANK=... MASTER_ADDR=... bash tools/dist_train.sh \
#       configs/classification/crate-emergence-base-p8_16xb256-coslr-90e_in21k.py 8
# Published, for these weights: coarse segmentation 23.6 mIoU on VOC 2012 val (Figure 4b); MaskCut on COCO val2017 1.3
# box AP, 1.0 mask AP (Table 1). Not run here. The released "demo" checkpoint of this size has 6 heads in place of 12.
_base_ = './crate-emergence-small-p8_8xb512-coslr-90e_in21k.py'

model = dict(backbone=dict(arch='emergence-base'), head=dict(in_channels=768))
train_dataloader = dict(batch_size=256)
