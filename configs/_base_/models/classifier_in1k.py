# A linear classifier of the 1,000 classes of ImageNet-1k on the [CLS] token.
model = dict(
    type='ImageClassifier',
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        init_cfg=None,  # torch's own draw, as in the released code
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
    ),
)
