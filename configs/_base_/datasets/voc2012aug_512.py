# VOC 2012 and its additional annotations (SBD) as in mmseg: 20 classes and the background; borders, 255, are ignored.
# 1,464 + 9,118 images for training, 1,449 for validation. Two crops of 512 x 512 per GPU; tested with the shorter side
# at 512. Data: $CRATE_DATA/VOCdevkit/VOC2012 with JPEGImages/, SegmentationClass/, SegmentationClassAug/ and, in
# ImageSets/Segmentation/, train.txt, aug.txt and val.txt; mmseg's tools/dataset_converters/voc_aug.py writes the rest.
_base_ = 'mmseg::_base_/datasets/pascal_voc12_aug.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

data_root = f'{__data__}/VOCdevkit/VOC2012'
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        datasets=[dict(_base_.dataset_train, data_root=data_root), dict(_base_.dataset_aug, data_root=data_root)]
    ),
)
val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
