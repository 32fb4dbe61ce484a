# CRATE-T/8 of arXiv 2308.16271, supervised on ImageNet-21k, Appendix C.1.
# The recipe is that of crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, where it is explained; what follows is the
# difference.
#   bash tools/dist_train.sh configs/classification/crate-emergence-tiny-p8_8xb512-coslr-90e_in21k.py 8
# Nothing is published of these weights before fine-tuning. Not run here.
_base_ = './crate-emergence-small-p8_8xb512-coslr-90e_in21k.py'

model = dict(backbone=dict(arch='emergence-tiny'), head=dict(in_channels=192))
