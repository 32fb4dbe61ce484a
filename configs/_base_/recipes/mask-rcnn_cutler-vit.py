# mask-rcnn_cutler.py with CRATE or a ViT in place of the R50; models/cutler_vit.py says what else differs.
#   bash tools/dist_train.sh CONFIG 8
_base_ = ['./mask-rcnn_cutler.py', '../models/cutler_vit.py']

model = _base_.vit
optim_wrapper = _base_.adamw
