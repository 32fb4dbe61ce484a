# emergence_finetune_in1k.py on Oxford Flowers-102, 50 epochs: trained on trainval (2,040 images), tested on test
# (6,149). The paper does not say which images it trained on.
# Data: $CRATE_DATA/flowers102 with jpg/, imagelabels.mat and setid.mat.
_base_ = './emergence_finetune_in1k.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(head=dict(num_classes=102))
__flowers__ = dict(type='Flowers102', data_root=f'{__data__}/flowers102')
train_dataloader = dict(dataset=dict(__flowers__, split='trainval'))
val_dataloader = test_dataloader = dict(dataset=dict(__flowers__, split='test'))
train_cfg = dict(max_epochs=50)
