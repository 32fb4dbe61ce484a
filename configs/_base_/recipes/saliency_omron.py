# saliency_ecssd.py on DUT-OMRON (5,168 images).
# Data: $CRATE_DATA/DUT-OMRON with DUT-OMRON-image/*.jpg and pixelwiseGT-new-PNG/*.png.
_base_ = './saliency_ecssd.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

__folders__ = dict(img_path='DUT-OMRON-image', seg_map_path='pixelwiseGT-new-PNG')
test_dataloader = dict(dataset=dict(data_root=f'{__data__}/DUT-OMRON', data_prefix=__folders__))
