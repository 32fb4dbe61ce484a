# MaskCut with the keys of a small ViT trained on Tiny-ImageNet, on 128 photographs of COCO train2017.
# Its protocol and options are those of maskcut_crate-emergence-small-p8_1xb8_coco.py; what follows is the difference.
#   CRATE_DATA=/datasets python tools/test.py configs/maskcut/maskcut_vit-w128d6-p8_1xb8_coco128.py CHECKPOINT
# Measured here at 224 x 224 (--cfg-options test_dataloader.dataset.pipeline.1.scale=224), CHECKPOINT after 8 epochs:
# box AP50 2.53, AP 1.49; mask AP50 1.44, AP 0.36, in percent (order='as given').
# CHECKPOINT: of configs/classification/vit-w128d6-p8_1xb128-coslr-8e_tinyimagenet100-64px.py. It was trained at
# 64 x 64: here its 8 x 8 positions are interpolated to 60 x 60.
# Data: $CRATE_DATA/coco128 with train2017/ and annotations/instances_train2017.json, cut to the images there are.
_base_ = './maskcut_crate-emergence-small-p8_1xb8_coco.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(
    backbone=dict(
        _delete_=True,
        type='CRATE',
        arch=dict(embed_dims=128, num_heads=4, num_layers=6),
        img_size=64,
        patch_size=8,
        attn_cfg=dict(type='MHSA'),
        ffn_cfg=dict(type='MLP'),
        patch_embed='conv',
        norm_eps=1e-6,
        init='alpha',
    ),
    layer=5,
)
test_dataloader = dict(
    num_workers=2,
    dataset=dict(
        data_root=f'{__data__}/coco128',
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
    ),
)
test_evaluator = dict(ann_file=f'{__data__}/coco128/annotations/instances_train2017.json')
