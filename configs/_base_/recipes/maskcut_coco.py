# MaskCut on COCO val2017, class-agnostic (arXiv 2308.16271, Appendix B.4, Tables 1 and 2, Figure 6). No training.
#   python tools/test.py CONFIG CHECKPOINT
#   bash tools/dist_test.sh CONFIG CHECKPOINT 8
#   --cfg-options model.layer=8     another layer's features, 0-based (Figure 6 counts from 1)
#   --cfg-options model.crf=True    masks refined by a dense CRF (extra `crf`); Tables 1 and 2 are without
#   --cfg-options model.score=ncut  masks ranked by their cut; 'one': all equal (docs/maskcut.md)
#   --show-dir pictures             draw the masks
# CHECKPOINT: see `Weights` in the file of the backbone.
# The backbone is built as it was trained; at 480 x 480 its positions are interpolated to 60 x 60.
_base_ = ['../datasets/coco_480.py', '../default_runtime.py']
default_scope = 'mmdet'

model = dict(
    type='MaskCutDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    layer=11,
    tau=0.15,
    num_masks=3,
    crf=False,
    score='one',
)

default_hooks = dict(visualization=dict(_delete_=True, type='DetVisualizationHook'))
visualizer = dict(type='ObjectVisualizer')
