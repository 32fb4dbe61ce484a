# corloc_voc2007.py on VOC 2012 trainval (11,540 images with boxes).
# Data: $CRATE_DATA/VOCdevkit/VOC2012 with JPEGImages/, Annotations/ and ImageSets/Main/trainval.txt.
_base_ = './corloc_voc2007.py'

__split__ = dict(ann_file='VOC2012/ImageSets/Main/trainval.txt', data_prefix=dict(sub_data_root='VOC2012/'))
test_dataloader = dict(dataset=__split__)
