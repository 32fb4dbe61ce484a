# mmdet's schedule of 12 epochs, 16 images per step. Chosen here: AdamW with the learning rate and weight decay of
# mmdet's Mask R-CNN with Swin-T. No weight decay on norms, biases, [CLS] and positions. Layer-wise decay of the
# learning rate by 0.7, as in ViTDet-B (arXiv 2203.16527), for every size. Mixed precision saves memory.
_base_ = 'mmdet::_base_/schedules/schedule_1x.py'

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
auto_scale_lr = dict(enable=True)
