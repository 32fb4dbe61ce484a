# Fine-tuning of arXiv 2308.16271, Appendix C.2: AdamW, learning rate 5e-5, weight decay 0.01. The appendix gives no
# schedule: here a cosine to zero, by iteration, over the epochs of the leaf. Weight decay acts on every parameter,
# norms, biases and tokens too: no exception is published.
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=5e-5, weight_decay=0.01))
param_scheduler = dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, convert_to_iter_based=True)
