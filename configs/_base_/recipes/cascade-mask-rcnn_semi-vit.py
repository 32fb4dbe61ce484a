# cascade-mask-rcnn_semi.py, whose header has the commands, with CRATE or a ViT in place of the R50.
_base_ = ['./cascade-mask-rcnn_semi.py', '../models/cutler_vit.py']

model = _base_.vit
optim_wrapper = _base_.adamw
