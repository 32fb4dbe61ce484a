# Fine-tuning on a part of COCO: CutLER's optimiser. Chosen here: 48 epochs of 16 images per step for any part (1%:
# about 3,500 steps), and steps after two thirds and nine tenths.
_base_ = './cutler_160k.py'

train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=48, val_interval=12)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=48, milestones=[32, 43], gamma=0.1),
]
