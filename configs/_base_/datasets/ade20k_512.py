# ADE20K as in mmseg: 150 classes; label 0 is ignored (reduce_zero_label). 20,210 images for training, 2,000 for
# validation. Two crops of 512 x 512 per GPU; tested with the shorter side at 512.
# Data: $CRATE_DATA/ade/ADEChallengeData2016 with images/ and annotations/, training/ and validation/ in each.
_base_ = 'mmseg::_base_/datasets/ade20k.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

data_root = f'{__data__}/ade/ADEChallengeData2016'
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root))
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
