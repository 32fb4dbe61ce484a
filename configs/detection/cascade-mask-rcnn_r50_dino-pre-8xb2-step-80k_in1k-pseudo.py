# A round of self-training of Cascade Mask R-CNN, R50 from DINO, on ImageNet-1k (CutLER, arXiv 2301.11320).
# Published after three rounds, boxes of COCO val2017, class-agnostic: AP50 21.9, AR100 32.7. Not run here.
_base_ = '../_base_/recipes/cascade-mask-rcnn_cutler-round.py'
