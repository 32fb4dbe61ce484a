# CRATE-T/8 of arXiv 2308.16271, pre-trained on ImageNet-21k and fine-tuned on CIFAR-10 (Appendix C.2, Table 3).
# The recipe is that of crate-emergence-small-p8_in21k-pre-4xb64-coslr-50e_cifar10.py, where it is explained; what
# follows is the difference.
#   bash tools/dist_train.sh configs/classification/crate-emergence-tiny-p8_in21k-pre-4xb64-coslr-50e_cifar10.py 4
# Published: top-1 94.1. Not run here.
_base_ = './crate-emergence-small-p8_in21k-pre-4xb64-coslr-50e_cifar10.py'

model = dict(
    backbone=dict(arch='emergence-tiny', init_cfg=dict(checkpoint='checkpoints/crate-emergence-tiny-p8_in21k.pth')),
    head=dict(in_channels=192),
)
