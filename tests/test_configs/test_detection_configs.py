"""configs/detection: names against contents."""

import pytest
from config_tree import DETECTION, DETECTION_NAME, build_without_memory, header, load, parse

FOLDERS = {'sample': 'sample/coco'}
MODELS = {'mask-rcnn': 'MaskRCNN'}
BACKBONES = {'r50': ('ResNet', 50)}

every_config = pytest.mark.parametrize('path', DETECTION, ids=lambda path: path.stem)


@every_config
def test_name_says_model_and_schedule(path):
    name, cfg = parse(DETECTION_NAME, path), load(path)
    assert cfg.model.type == MODELS[name['detector']]
    assert (cfg.model.backbone.type, cfg.model.backbone.depth) == BACKBONES[name['backbone']]
    assert cfg.train_dataloader.batch_size == name['batch']
    assert cfg.auto_scale_lr == dict(base_batch_size=name['gpus'] * name['batch'], enable=True)
    assert cfg.train_cfg.max_epochs == name['epochs']
    assert cfg.param_scheduler[-1].type == 'MultiStepLR' and name['schedule'] == 'step'


@every_config
def test_name_says_data_and_size(path):
    name, cfg = parse(DETECTION_NAME, path), load(path)
    loaders = cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader
    assert {loader.dataset.data_root for loader in loaders} == {f'data/{FOLDERS[name["data"]]}'}
    resizes = [step for loader in loaders for step in loader.dataset.pipeline if step.type == 'Resize']
    assert [step.scale for step in resizes] == 3 * [(name['width'], name['height'])]
    labels = 'pseudo' if name['labels'] else 'instances'
    assert cfg.train_dataloader.dataset.ann_file == f'annotations/{labels}_train2017.json'
    assert cfg.val_dataloader == cfg.test_dataloader
    assert cfg.val_dataloader.dataset.ann_file == 'annotations/instances_val2017.json'
    truth = f'{cfg.val_dataloader.dataset.data_root}/{cfg.val_dataloader.dataset.ann_file}'
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == truth


@pytest.mark.parametrize('path', [path for path in DETECTION if '-pseudo' in path.stem], ids=lambda path: path.stem)
def test_pseudo_labels_are_all_that_is_learnt_from(path):
    """One class, no weights from elsewhere; and with nothing to start from, every layer is trained."""
    cfg = load(path)
    assert cfg.train_dataloader.dataset.metainfo.classes == ('object',)
    assert cfg.val_evaluator.type == 'ClassAgnosticCocoMetric'
    assert cfg.load_from is None and cfg.model.backbone.init_cfg is None
    model = build_without_memory(cfg)
    assert model.roi_head.bbox_head.num_classes == model.roi_head.mask_head.num_classes == 1
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert f'data/{cfg.train_dataloader.dataset.data_root.removeprefix("data/")}/annotations/pseudo' in header(path)
