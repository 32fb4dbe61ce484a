# Coarse segmentation by the [CLS] attention on VOC 2012 segmentation val. In every image, a class has the IoU of the
# head that fits it best (arXiv 2308.16271, Appendix B.3, Figure 4b, Table 2). No training.
#   python tools/test.py CONFIG CHECKPOINT
#   bash tools/dist_test.sh CONFIG CHECKPOINT 8
#   --cfg-options model.layers=all              every layer in one pass; or a 0-based index, or several: 8,10,11
#   --cfg-options test_evaluator.rule=top       the paper's words: the top 60% of a map's entries, not 60% of its mass
#   --cfg-options test_evaluator.resolution=token           compare on the token grid, as the paper does, not per pixel
#   --cfg-options test_dataloader.dataset.pipeline.1.scale=224                  another input size, here 224 x 224
#   --cfg-options test_dataloader.dataset.ann_file=FILE     another list of images
#   --show-dir pictures                         draw the annotations; tools/analysis_tools/figures.py draws attention
# CHECKPOINT: see `Weights` in the file of the backbone.
# The backbone is built as it was trained; at 480 x 480 its positions are interpolated to 60 x 60. The paper does not
# state its input size: 480 x 480 is that of its MaskCut protocol.
_base_ = ['../datasets/voc2012_480.py', '../default_runtime.py']
default_scope = 'mmseg'

model = dict(
    type='AttentionSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    layers=-1,
)

default_hooks = dict(visualization=dict(_delete_=True, type='SegVisualizationHook', interval=1))
visualizer = dict(type='SegLocalVisualizer')
