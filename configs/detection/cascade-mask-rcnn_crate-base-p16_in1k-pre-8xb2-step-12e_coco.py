# mmdet's Cascade Mask R-CNN with CRATE-Base/16 (arXiv 2306.01129) on COCO: 1x schedule.
#   bash tools/dist_train.sh configs/detection/cascade-mask-rcnn_crate-base-p16_in1k-pre-8xb2-step-12e_coco.py 8
# Not run here.
#
# The run starts from the file `init_cfg.checkpoint` below, and stops before its first step where it is missing:
# the last checkpoint of configs/classification/crate-base-p16_8xb64-coslr-200e_in1k.py, or the released weights,
# converted:
#   python tools/model_converters/crate_to_mm.py SRC checkpoints/crate-base-p16_in1k.pth --arch base
#
# Heads, images (1333 x 800) and the schedule of 12 epochs are mmdet's own. Chosen here: AdamW with the learning rate
# and weight decay of mmdet's Mask R-CNN with Swin-T, without weight decay on norms, biases, [CLS] and positions;
# layer-wise decay of the learning rate by 0.7 and a drop path rate of 0.1, those of ViTDet-B (arXiv 2203.16527), for
# every size. Memory: mixed precision; windows of 14 x 14 patches in all layers but the third, sixth, ninth and twelfth.
#
# Data: $CRATE_DATA/coco with train2017/, val2017/ and annotations/instances_{train,val}2017.json.
_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')
custom_imports = dict(imports=['projects.crate'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='CRATE',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='featmap',
        window_size=14,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/crate-base-p16_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(_delete_=True, type='SimpleFPN', in_channels=768, in_stride=16, out_strides=(4, 8, 16, 32, 64)),
)

data_root = f'{__data__}/coco'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=f'{data_root}/annotations/instances_val2017.json')
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.7,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(cls_token=dict(decay_mult=0.0), pos_embed=dict(decay_mult=0.0)),
    ),
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
)
auto_scale_lr = dict(base_batch_size=16, enable=True)
