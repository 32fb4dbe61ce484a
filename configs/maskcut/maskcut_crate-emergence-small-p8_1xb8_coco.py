# MaskCut with the features of CRATE-S/8 on COCO val2017, class-agnostic (arXiv 2308.16271, Appendix B.4). No training.
#   python tools/test.py configs/maskcut/maskcut_crate-emergence-small-p8_1xb8_coco.py CHECKPOINT
#   bash tools/dist_test.sh configs/maskcut/maskcut_crate-emergence-small-p8_1xb8_coco.py CHECKPOINT 8
# Published (Table 1): box AP50 2.9, AP75 1.0, AP 1.1; mask AP50 1.8, AP75 0.7, AP 0.8. Not run here.
# Published (Table 2), of the same model: box AP50 2.1, AP75 0.7, AP 0.8; the paper does not explain it.
#
# CHECKPOINT: of configs/classification/crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, or the released weights:
#   python tools/model_converters/crate_to_mm.py SRC CHECKPOINT --arch emergence-small
#
# The other configs of this folder name their difference from this one. What every one of them takes:
#   --cfg-options model.layer=8     another layer's features, 0-based (Figure 6 counts from 1)
#   --cfg-options model.crf=True    masks refined by a dense CRF (extra `crf`); Tables 1 and 2 are without
#   --cfg-options model.score=ncut  masks ranked by their cut; 'one': all equal (docs/maskcut.md)
#   --show-dir pictures             draw the masks
#
# Data: $CRATE_DATA/coco with val2017/ and annotations/instances_val2017.json.
_base_ = ['../_base_/datasets/coco_480.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'

model = dict(
    type='MaskCutDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    # as it was trained; at 480 x 480 its positions are interpolated to 60 x 60
    backbone=dict(type='CRATE', arch='emergence-small', img_size=224, patch_size=8),
    layer=11,
    tau=0.15,
    num_masks=3,
    crf=False,
    score='one',
)

test_dataloader = dict(batch_size=8)

default_hooks = dict(visualization=dict(_delete_=True, type='DetVisualizationHook'))
visualizer = dict(type='DetLocalVisualizer')
