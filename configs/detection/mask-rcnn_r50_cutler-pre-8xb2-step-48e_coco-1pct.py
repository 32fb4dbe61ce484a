# Mask R-CNN, R50, that learnt from masks of ImageNet-1k (CutLER, arXiv 2301.11320), fine-tuned on 1% of COCO.
# Published for CutLER, 1% of COCO, with Cascade Mask R-CNN: box AP 16.8, mask AP 14.6. Not run here.
_base_ = '../_base_/recipes/mask-rcnn_semi.py'
