# CRATE-sth, S/8: ISTA with the sign-preserving soft threshold in place of the ReLU (arXiv 2308.16271, Figure 13).
width = 384
__ista__ = dict(type='ISTA', threshold='soft')
backbone = dict(type='CRATE', arch='emergence-small', ffn_cfg=__ista__, img_size=224, patch_size=8)
