# CRATE-B/8 of arXiv 2308.16271, fine-tuned on Oxford-IIIT Pets (Table 3). Published: top-1 90.7. Not run here.
_base_ = ['../_base_/backbones/crate-emergence-base-p8.py', '../_base_/recipes/emergence_finetune_pets.py']

model = dict(backbone=_base_.pretrained, head=dict(in_channels=_base_.width))
train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=128)
