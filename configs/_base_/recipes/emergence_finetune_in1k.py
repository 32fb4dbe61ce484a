# emergence_finetune.py on ImageNet-1k, in 20 epochs. Data: $CRATE_DATA/imagenet/{train,val}/<wnid>/*.JPEG.
_base_ = ['./emergence_finetune.py', '../datasets/imagenet_224.py']

model = dict(head=dict(num_classes=1000))
train_dataloader = dict(batch_size=64)
train_cfg = dict(max_epochs=20)
