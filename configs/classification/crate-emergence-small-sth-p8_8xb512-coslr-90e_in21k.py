# CRATE-sth, S/8: ISTA with the sign-preserving soft threshold in place of the ReLU (arXiv 2308.16271, Figure 13).
# The recipe is that of crate-emergence-small-p8_8xb512-coslr-90e_in21k.py, where it is explained; what follows is the
# difference.
#   bash tools/dist_train.sh configs/classification/crate-emergence-small-sth-p8_8xb512-coslr-90e_in21k.py 8
# Published of it: attention maps, no number. Not run here.
_base_ = './crate-emergence-small-p8_8xb512-coslr-90e_in21k.py'

model = dict(backbone=dict(ffn_cfg=dict(type='ISTA', threshold='soft')))
