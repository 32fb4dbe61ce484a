# CRATE-B/8 of arXiv 2308.16271, pre-trained on ImageNet-21k and fine-tuned on ImageNet-1k (Appendix C.2, Table 3).
# The recipe is that of crate-emergence-small-p8_in21k-pre-4xb64-coslr-20e_in1k.py, where it is explained; what follows
# is the difference.
#   bash tools/dist_train.sh configs/classification/crate-emergence-base-p8_in21k-pre-4xb32-coslr-20e_in1k.py 4
# Published: top-1 79.5. Not run here.
_base_ = './crate-emergence-small-p8_in21k-pre-4xb64-coslr-20e_in1k.py'

model = dict(
    backbone=dict(arch='emergence-base', init_cfg=dict(checkpoint='checkpoints/crate-emergence-base-p8_in21k.pth')),
    head=dict(in_channels=768),
)

train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=128)
