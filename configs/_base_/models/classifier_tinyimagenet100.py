# A linear classifier of the classes of the 100-class Tiny-ImageNet on the [CLS] token.
model = dict(
    type='ImageClassifier',
    head=dict(
        type='LinearClsHead',
        num_classes=100,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original', num_classes=100),
        topk=(1, 5),
    ),
)
