# Coarse segmentation by the attention of a small ViT on the generated sample set, beside its CRATE twin.
# Protocol and options are those of coarse-seg_crate-w128d5-p4_1xb8_sample-96x128px.py; what follows is the difference.
#   python tools/make_sample_set.py data/sample
#   python tools/train.py configs/classification/vit-w128d5-p4_1xb48-coslr-400i_sample-48px.py
#   python tools/test.py configs/segmentation/coarse-seg_vit-w128d5-p4_1xb8_sample-96x128px.py \
#       work_dirs/vit-w128d5-p4_1xb48-coslr-400i_sample-48px/iter_400.pth
# Measured here with the checkpoint of `make demo`, seed 0: mIoU 27.0 in the last layer, the best.
_base_ = './coarse-seg_crate-w128d5-p4_1xb8_sample-96x128px.py'

model = dict(backbone=dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6))
