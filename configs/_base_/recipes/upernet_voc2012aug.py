# upernet.py on VOC 2012 + aug (21 classes), 40,000 iterations, where mmseg has 20,000 and 40,000.
_base_ = ['./upernet.py', '../datasets/voc2012aug_512.py']

model = dict(decode_head=dict(num_classes=21), auxiliary_head=dict(num_classes=21))
