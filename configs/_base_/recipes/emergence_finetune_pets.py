# emergence_finetune_in1k.py on Oxford-IIIT Pets, 50 epochs: trained on trainval (3,680 images), tested on test (3,669).
# Data: $CRATE_DATA/pets with images/ and annotations/.
_base_ = './emergence_finetune_in1k.py'
__data__ = __import__('os').environ.get('CRATE_DATA', 'data')

model = dict(head=dict(num_classes=37))
__pets__ = dict(type='OxfordIIITPet', data_root=f'{__data__}/pets')
train_dataloader = dict(dataset=dict(__pets__, split='trainval'))
val_dataloader = test_dataloader = dict(dataset=dict(__pets__, split='test'))
train_cfg = dict(max_epochs=50)
