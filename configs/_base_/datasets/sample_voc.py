# The generated sample set in the layout of VOC: $CRATE_DATA/sample/VOCdevkit/VOC2012 with JPEGImages/,
# SegmentationClass/ and ImageSets/Segmentation/{train,val}.txt, 1,000 and 200 scenes, 96 high and 128 wide.
# The recipe says which list and which pipeline.
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

__objects__ = 'amber_stripes azure_checks crimson_dots cyan_plain emerald_checks lime_stripes magenta_plain violet_dots'
dataset = dict(
    type='BaseSegDataset',  # PascalVOCDataset knows no classes but VOC's
    data_root=f'{__data__}/sample/VOCdevkit/VOC2012',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    metainfo=dict(classes=('background', *__objects__.split())),
)
