import json

import numpy as np
import pytest
import torch
from config_tree import CLASSIFICATION
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from toy_observer import BACKBONE, PREPROCESSOR, config
from toy_report import RUN, TEXT, make_data, save_training

from projects.crate.errors import UserError
from projects.crate.evaluation import best_head_iou
from projects.crate.sample_set.coats import CLASSES
from projects.crate.study.checkpoint_model import default_names, literal_config, read_model
from projects.crate.study.experiment import whole_image_objects
from projects.crate.study.images import ImageSet, find_coco, find_images, find_voc, object_shares, salient_images
from projects.crate.study.masks import cut_masks
from projects.crate.study.measure import bootstrap_interval, measure_model
from projects.crate.study.observer import Observer

SIZE = (32, 48)


@pytest.mark.parametrize('path', CLASSIFICATION[::6], ids=lambda path: path.stem)
def test_config_text_means_what_mmengine_takes_it_for(path):
    cfg = Config.fromfile(path)
    expected = {key: value for key, value in cfg.to_dict().items() if key in ('model', 'data_preprocessor')}
    assert literal_config(cfg.pretty_text, 'a.pth') == {**expected, 'default_scope': 'mmpretrain'}


def test_keys_that_are_no_names():
    """mmengine writes their dictionaries as ``dict({...})``."""
    model = dict(backbone=dict(type='A', by_name={'.cls': dict(x=(1, None)), 'b c': [dict(y=-0.5)]}))
    assert literal_config(Config(dict(model=model)).pretty_text, 'a.pth') == dict(model=model)


@pytest.mark.parametrize(
    'text',
    [
        "model = dict(backbone=__import__('pathlib').Path({path!r}).touch())",
        "model = dict(backbone=[x for x in [__import__('pathlib').Path({path!r}).touch()]])",
        'model = dict(**{{}})',
        'model = dict([1])',
        'model = dict(type=<class CRATE>)',
    ],
)
def test_nothing_in_a_checkpoint_is_executed(tmp_path, text):
    path = save_training(tmp_path / 'a.pth', text.format(path=str(tmp_path / 'touched')))
    with pytest.raises(UserError, match='a.pth: its config .* --configs'):
        read_model(path, 'A')
    assert not (tmp_path / 'touched').exists()
    found = read_model(path, 'A', str(config(tmp_path))).config.model.backbone
    assert {**found, 'type': 'CRATE'} == BACKBONE


def test_code_elsewhere_in_the_config_is_passed_over(tmp_path):
    text = f'import os\nhooks = [open({str(tmp_path / "touched")!r}, "w")]\n{TEXT}'
    read_model(save_training(tmp_path / 'a.pth', text), 'A')
    assert not (tmp_path / 'touched').exists()


def test_what_a_checkpoint_says(tmp_path):
    path = save_training(tmp_path / 'a.pth')
    model = read_model(path, 'A')
    assert (model.name, model.checkpoint) == ('A', path)
    assert (model.config_name, model.training) == (RUN[: -len('_20260102_030405')], '3 epochs, 1,234 iterations')
    assert model.config.to_dict() == dict(
        default_scope='mmpretrain',
        model=dict(
            backbone=dict(BACKBONE, type='mmpretrain.CRATE'), data_preprocessor=dict(PREPROCESSOR, num_classes=2)
        ),
    )
    assert Observer.from_config(model.config, str(path)).num_layers == 3


def test_a_converted_checkpoint_needs_a_config(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / 'a.pth')
    with pytest.raises(UserError, match='a.pth holds no config .* --configs'):
        read_model(tmp_path / 'a.pth', 'A')
    model = read_model(tmp_path / 'a.pth', 'A', str(config(tmp_path)))
    assert (model.config_name, model.training) == ('config', '')
    (tmp_path / 'empty.py').write_text('model = dict()')
    with pytest.raises(UserError, match=r'empty.py: the config has no model\.backbone'):
        read_model(tmp_path / 'a.pth', 'A', str(tmp_path / 'empty.py'))


def test_names_are_as_short_as_they_can_be(tmp_path):
    def names(*paths):
        return default_names([tmp_path / path for path in paths])

    assert names('crate-s_1xb4_in1k/a.pth', 'vit-s_1xb4_in1k/a.pth') == ['crate-s', 'vit-s']
    assert names('crate-s_x/a.pth', 'crate-s_x/b.pth') == ['crate-s/a', 'crate-s/b']
    assert len({*names('crate_x/a.pth', 'crate_y/a.pth')}) == 2


@pytest.mark.parametrize(('folder', 'given'), [('.', '.'), ('VOCdevkit/VOC2012', '.'), ('VOC2012', '.')])
def test_voc_is_found(tmp_path, folder, given):
    root = tmp_path / folder
    (root / 'ImageSets' / 'Segmentation').mkdir(parents=True)
    (root / 'ImageSets' / 'Segmentation' / 'val.txt').write_text('b\na\nc d \n\n')
    (tmp_path / 'other').mkdir()
    voc = find_voc([tmp_path / 'other', tmp_path / given], 2)
    assert voc.changes == dict(data_root=str(root), ann_file='ImageSets/Segmentation/val.txt')
    assert voc.images[0] == root / 'JPEGImages/b.jpg' and voc.targets[2] == root / 'SegmentationClass/c d.png'
    assert voc.chosen == [0, 1]
    assert voc.classes[:2] == ('background', 'aeroplane')


@pytest.mark.parametrize('folder', ['.', 'coco'])
def test_coco_is_found_validation_first(tmp_path, folder):
    root = tmp_path / folder
    (root / 'annotations').mkdir(parents=True)
    for split in ('train2017', 'val2017', 'xval2017'):  # of the last one there are no images
        image = dict(id=1, file_name=f'{split}.jpg', height=9, width=9)
        content = dict(images=[image], annotations=[], categories=[])
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
    coco = find_coco([tmp_path])
    assert coco.images == [root / 'val2017/val2017.jpg']
    assert coco.changes['ann_file'] == 'annotations/instances_val2017.json'
    (root / 'annotations/instances_val2017.json').write_text('{"images": []}')
    with pytest.raises(UserError, match=r"instances_val2017\.json: has no list 'annotations'"):
        find_coco([tmp_path])


def test_no_data_is_one_line(tmp_path):
    with pytest.raises(UserError, match='no data below --data-root'):
        find_images([tmp_path], SIZE)


def test_shares_are_of_what_is_not_void(tmp_path):
    labels = np.array([[0, 0, 255, 255], [1, 2, 2, 255]], dtype=np.uint8)
    Image.fromarray(labels).save(tmp_path / 'a.png')
    Image.fromarray(labels * 0).save(tmp_path / 'b.png')
    Image.fromarray(labels).save(tmp_path / 'photo.jpg')
    changes = dict(metainfo=dict(classes=('background', 'cat', 'dog')))
    targets = [tmp_path / 'c.png', tmp_path / 'a.png', tmp_path / 'b.png']
    voc = ImageSet(None, changes, [tmp_path / 'photo.jpg'] * 3, targets, [1, 2])
    cats, none = object_shares(voc)
    assert cats == pytest.approx(dict(cat=0.2, dog=0.4)) and none == {}
    Image.fromarray(labels).convert('RGB').save(tmp_path / 'b.png')
    with pytest.raises(UserError, match=r'b\.png: has 3 channels'):
        object_shares(voc)
    Image.fromarray(labels.T.copy()).save(tmp_path / 'b.png')
    with pytest.raises(
        UserError, match=r'photo\.jpg: the image has 4 x 2 pixels, and its label map .*b\.png has 2 x 4'
    ):
        object_shares(voc)
    Image.fromarray(labels + 3).save(tmp_path / 'b.png')
    with pytest.raises(UserError, match=r'b\.png: label 3 is no class'):
        object_shares(voc)


@pytest.mark.parametrize('has_list', [True, False])
def test_a_mask_of_the_whole_image_as_the_one_object(tmp_path, has_list):
    """Horses have a list of their own; the box of c, (0, 0) to (3, 2) without void pixels, is half of its image."""
    for name in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / 'ImageSets/Segmentation/val.txt').write_text('a\nb\nc\n')
    if has_list:
        (tmp_path / 'ImageSets/Segmentation/val_horses.txt').write_text('b\nc\n')
    maps = dict(a=np.full((2, 6), 2), b=np.zeros((2, 6)), c=np.array([[1, 0, 1, 0, 255, 255], [0, 1, 0, 0, 0, 0]]))
    for name, labels in maps.items():
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / f'SegmentationClass/{name}.png')
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / f'JPEGImages/{name}.jpg')
    salient = salient_images(find_voc([tmp_path]))
    found = whole_image_objects(salient)
    shares = [0, 0.3] if has_list else [1, 0, 0.3]
    assert found['saliency/IoU'] == pytest.approx(100 * np.mean(shares))
    assert found['discovery/CorLoc'] == 100  # no object in b
    assert [salient.images[i].stem for i in salient.chosen] == ['b', 'c'] if has_list else ['a', 'b', 'c']


def test_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert bootstrap_interval(values) == (low, high)


def by_hand(observer, material, layer, rule):
    """Mean over classes of the IoU of the best head, image by image, in percent."""
    values = []
    for index in material.voc.chosen:
        attention = observer.attention(material.voc.read(index, SIZE), [layer])[layer]
        target = torch.from_numpy(np.asarray(Image.open(material.voc.targets[index])).astype(np.int64))
        values.append(100 * np.mean([*best_head_iou(torch.from_numpy(attention), target, rule).values()]))
    return values


def test_a_model_is_measured_once(tmp_path, fast_runner, monkeypatch):
    """On a non-square size, every third image, against a measurement by hand; then again without a Runner."""
    model = read_model(save_training(tmp_path / 'a.pth'), 'A')
    material = find_images([make_data(tmp_path / 'sample')], SIZE, 3)
    report = measure_model(model, material, tmp_path / 'out', layer=-2, num_workers=0)
    observer = Observer.from_config(model.config, str(model.checkpoint))
    for rule in ('mass', 'top'):
        coarse = report.coarse[rule]
        for layer in range(3):
            assert coarse.images[layer] == pytest.approx(by_hand(observer, material, layer, rule), abs=1e-6)
        assert coarse.images.mean(1) == pytest.approx(coarse.mean)
        assert coarse.heads.shape == (3, 3) and (coarse.heads <= coarse.mean[:, None] + 1e-9).all()
        assert {*coarse.classes} == {name for image in object_shares(material.voc) for name in image} <= {*CLASSES}
    assert report.layer == 1 and report.maskcut[0].tolist() == [1]
    for name in ('coco/bbox_mAP', 'coco/segm_mAP_75'):
        assert {name, f'{name}_low', f'{name}_high'} <= report.maskcut[1].keys()
    assert report.rates['compression'].shape == (3, 3)
    assert [maps.shape for maps in report.attention] == [(3, 8, 12)] * 3
    assert [colours.shape for colours in report.colours] == [(8, 12, 3)] * 3
    assert all(masks.shape[1:] == SIZE for masks in report.masks) and material.objects[0].shape == SIZE
    assert report.noise[1].shape == (2, 2, 3, 8, 12)
    assert (report.architecture, report.patch_size) == ('3 layers of MSSA and ISTA, 3 heads, width 24', (4, 4))

    monkeypatch.setattr(Runner, 'test', None)
    again = measure_model(model, material, tmp_path / 'out', layer=1, num_workers=0)
    assert np.array_equal(again.coarse['top'].images, report.coarse['top'].images)
    assert again.maskcut[1].keys() == report.maskcut[1].keys()


def test_only_one_layout_and_every_layer(tmp_path, fast_runner):
    model = read_model(save_training(tmp_path / 'a.pth'), 'A')
    material = find_images([make_data(tmp_path / 'sample', ['coco'])], SIZE, 2)
    report = measure_model(model, material, tmp_path / 'out', all_layers=True, num_workers=0)
    assert report.coarse == {} and report.maskcut[0].tolist() == [0, 1, 2]
    assert not any(mask.any() for mask in material.objects)
    with pytest.raises(UserError, match='a.pth: no layer 3: it has 3'):
        measure_model(model, material, tmp_path / 'out', layer=3)
    other = measure_model(model, material, tmp_path / 'out', num_workers=0, facet='token', centred=True)
    observer = Observer.from_config(model.config, str(model.checkpoint))
    for picture, masks, before in zip(material.pictures, other.masks, report.masks):
        tokens = observer.features(picture, [-1], 'token', centred=True)[-1]
        assert np.array_equal(masks, cut_masks(tokens, (4, 4), SIZE)) and not np.array_equal(masks, before)
    one = measure_model(model, find_images([tmp_path / 'sample'], SIZE, 1), tmp_path / 'out', num_workers=0)
    assert 'coco/segm_mAP' in one.maskcut[1] and 'coco/segm_mAP_low' not in one.maskcut[1]
