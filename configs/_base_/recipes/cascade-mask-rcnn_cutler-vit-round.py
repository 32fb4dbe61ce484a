# cascade-mask-rcnn_cutler-round.py with CRATE or a ViT in place of the R50; its header has the commands. The learning
# rate is half of the first training's, as with the R50.
_base_ = ['./cascade-mask-rcnn_cutler-round.py', '../models/cutler_vit.py']

model = _base_.vit
optim_wrapper = dict(_base_.adamw, optimizer=dict(_base_.adamw.optimizer, lr=5e-5))
