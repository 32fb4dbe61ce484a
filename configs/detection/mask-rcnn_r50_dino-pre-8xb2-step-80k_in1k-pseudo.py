# A round of self-training of Mask R-CNN, R50 from DINO, on ImageNet-1k (CutLER, arXiv 2301.11320).
# Published after three rounds, boxes of COCO val2017, class-agnostic: AP50 21.1, AR100 29.6. Not run here.
_base_ = '../_base_/recipes/mask-rcnn_cutler-round.py'
