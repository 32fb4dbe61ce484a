# Object discovery by one cut per image (TokenCut, arXiv 2202.11539): images of their own size, padded to whole patches;
# tau 0.2; the side of the peak, without MaskCut's rule of corners. No training.
#   python tools/test.py CONFIG CHECKPOINT
#   --cfg-options model.layer=8     another layer's features, 0-based
#   --cfg-options model.crf=True    masks refined by a dense CRF (extra `crf`), which follows the edges of the image
#   --cfg-options model.bilateral=True  masks refined by TokenCut's bilateral solver
# Images differ in size: one per batch.
_base_ = '../default_runtime.py'

model = dict(
    type='MaskCutDetector',
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    layer=11,
    tau=0.2,
    num_masks=1,
    crf=False,
    corner_rule=False,
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
