# emergence_finetune.py on CIFAR-10. Data: $CRATE_DATA/cifar10, downloaded by the first run.
_base_ = ['./emergence_finetune.py', '../datasets/cifar_224.py']

model = dict(head=dict(num_classes=10))
train_dataloader = dict(batch_size=64)
