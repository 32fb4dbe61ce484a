# saliency_ecssd.py on DUTS-TE (5,019 images).
# Data: $CRATE_DATA/DUTS-TE with DUTS-TE-Image/*.jpg and DUTS-TE-Mask/*.png.
_base_ = './saliency_ecssd.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

__folders__ = dict(img_path='DUTS-TE-Image', seg_map_path='DUTS-TE-Mask')
test_dataloader = dict(dataset=dict(data_root=f'{__data__}/DUTS-TE', data_prefix=__folders__))
