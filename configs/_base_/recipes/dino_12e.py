# mmdet's DINO on COCO, four scales, 12 epochs. Transformer, images and schedule are mmdet's own, also the learning rate
# of the backbone (a tenth).
#   bash tools/dist_train.sh CONFIG 8
# Chosen here: the simple pyramid (arXiv 2203.16527) of strides 8 to 64 in place of ChannelMapper; drop path rate 0.1.
# Images are padded to a multiple of the coarsest stride, so that all levels divide them.
# Memory: windows of 14 x 14 patches in all layers but the third, sixth, ninth and twelfth; --amp saves more.
# Data: $CRATE_DATA/coco with train2017/, val2017/ and annotations/instances_{train,val}2017.json.
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', '../tta/detection.py']
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)

model = dict(
    data_preprocessor=dict(pad_size_divisor=64),
    backbone=dict(_delete_=True, out_type='featmap', window_size=14, drop_path_rate=0.1),
    neck=dict(_delete_=True, type='SimpleFPN', out_strides=(8, 16, 32, 64)),
)

data_root = f'{__data__}/coco'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=f'{data_root}/annotations/instances_val2017.json')
auto_scale_lr = dict(enable=True)
