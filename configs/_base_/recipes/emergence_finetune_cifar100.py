# emergence_finetune_cifar10.py on CIFAR-100. Data: $CRATE_DATA/cifar100, downloaded by the first run.
_base_ = './emergence_finetune_cifar10.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(head=dict(num_classes=100))
train_dataloader = dict(dataset=dict(type='CIFAR100', data_root=f'{__data__}/cifar100'))
val_dataloader = test_dataloader = dict(dataset=dict(type='CIFAR100', data_root=f'{__data__}/cifar100'))
