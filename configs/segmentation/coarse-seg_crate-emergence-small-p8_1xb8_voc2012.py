# Coarse segmentation by the [CLS] attention of CRATE-S/8 on VOC 2012 segmentation val: in every image, the IoU of each
# class with the head that fits it best (arXiv 2308.16271, Appendix B.3). No training.
#   python tools/test.py configs/segmentation/coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py CHECKPOINT
#   bash tools/dist_test.sh configs/segmentation/coarse-seg_crate-emergence-small-p8_1xb8_voc2012.py CHECKPOINT 8
# Published (Figure 4b and Table 2): mIoU 23.9. Not run here.
#
# CHECKPOINT: of configs/classification/crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, or the released weights:
#   python tools/model_converters/crate_to_mm.py SRC CHECKPOINT --arch emergence-small
#
# The other coarse-seg_* configs name their difference from this one. What every one of them takes:
#   --cfg-options model.layers=all              every layer in one pass; or a 0-based index, or several: 8,10,11
#   --cfg-options test_evaluator.rule=top       the paper's words: the top 60% of a map's entries, not 60% of its mass
#   --cfg-options test_evaluator.resolution=token           compare on the token grid, as the paper does, not per pixel
#   --cfg-options test_dataloader.dataset.pipeline.1.scale=224                  another input size, here 224 x 224
#   --cfg-options test_dataloader.dataset.ann_file=FILE     another list of images
#   --show-dir pictures                         draw the annotations; tools/analysis_tools/figures.py draws attention
# The paper does not state its input size: 480 x 480 is that of its MaskCut protocol.
#
# Data: $CRATE_DATA/VOCdevkit/VOC2012 with JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/val.txt.
_base_ = ['../_base_/datasets/voc2012_480.py', '../_base_/default_runtime.py']
default_scope = 'mmseg'

model = dict(
    type='AttentionSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    # as it was trained; at 480 x 480 its positions are interpolated to 60 x 60
    backbone=dict(type='CRATE', arch='emergence-small', img_size=224, patch_size=8),
    layers=-1,
)

test_dataloader = dict(batch_size=8)

default_hooks = dict(visualization=dict(_delete_=True, type='SegVisualizationHook', interval=1))
visualizer = dict(type='SegLocalVisualizer')
