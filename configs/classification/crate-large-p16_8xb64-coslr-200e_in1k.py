# CRATE-Large of arXiv 2306.01129 (width 1024), supervised on ImageNet-1k.
# The recipe is that of crate-small-p16_8xb64-coslr-200e_in1k.py, where it is explained; what follows is the difference.
#   bash tools/dist_train.sh configs/classification/crate-large-p16_8xb64-coslr-200e_in1k.py 8
# Not run here.
_base_ = './crate-small-p16_8xb64-coslr-200e_in1k.py'

model = dict(backbone=dict(arch='large'), head=dict(in_channels=1024))
