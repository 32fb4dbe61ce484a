"""From photographs to masks in three lines: what comes in, what comes out, and what is refused."""

import cv2
import mmcv
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from toy_maskcut import BACKBONE, make_run
from toy_report import save_training
from toy_runs import load_tool

from projects.crate import MaskCutInferencer
from projects.crate.errors import UserError
from projects.crate.maskcut import maskcut
from projects.crate.maskcut.postprocess import image_masks
from projects.crate.models import CRATE, library_vit
from projects.crate.study.observer import Observer

SIZE = (24, 32)


def crate(**options):
    torch.manual_seed(0)
    return CRATE(BACKBONE['arch'], img_size=32, patch_size=4, **options)


@pytest.fixture
def run(tmp_path):
    """Arguments of the tool over five images, but OUT."""
    return make_run(tmp_path, number=5)


@pytest.fixture
def infer():
    return MaskCutInferencer(crate(), device='cpu', size=SIZE)


def noise(seed=0, size=(40, 50)):
    image = np.random.default_rng(seed).integers(0, 90, (*size, 3), dtype=np.uint8)
    image[8:30, 10:25] += 120
    return image


def same(one, other):
    return len(one.masks) and np.array_equal(one.masks, other.masks) and np.array_equal(one.image, other.image)


def test_masks_and_pictures_are_those_of_the_tool(run, tmp_path):
    images, _, config, _, weights = run
    assert load_tool('maskcut')([*map(str, run), str(tmp_path / 'o.json'), '--draw', str(tmp_path / 'tool')]) == 0
    infer = MaskCutInferencer(config, weights, device='cpu')
    assert infer.size == (24, 32)
    found = infer(images, out_dir=tmp_path / 'ours')
    pictures = sorted(path.relative_to(tmp_path / 'tool') for path in (tmp_path / 'tool').rglob('*.*'))
    assert pictures == sorted(path.relative_to(images) for path in images.rglob('*.*'))
    for one, path in zip(found, pictures, strict=True):
        assert one.name == str(path)
        assert (tmp_path / 'tool' / path).read_bytes() == (tmp_path / 'ours' / path).read_bytes()
        drawn = np.asarray(Image.open(tmp_path / 'ours' / path))
        if path.suffix == '.png':
            assert np.array_equal(drawn, one.draw())
        assert (drawn != one.image).any(-1)[one.masks.any(0)].mean() > 0.9


def test_masks_come_from_the_eigenvectors_and_the_attention_from_cls():
    backbone, image = crate(), noise()
    (found,) = MaskCutInferencer(backbone, device='cpu', size=SIZE)(image)
    observer = Observer(backbone, dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True))
    small = mmcv.imresize(image, SIZE[::-1], interpolation='lanczos', backend='pillow')
    np.testing.assert_allclose(found.attention, observer.attention(small, [-1])[-1], rtol=1e-5)
    features = torch.from_numpy(observer.features(small, [-1])[-1]).flatten(0, 1).T
    masks, vectors = maskcut(features, (6, 8))
    kept = masks.flatten(1).any(1)
    assert np.array_equal(found.masks, image_masks(masks.numpy(), (4, 4), SIZE, image.shape[:2]))
    np.testing.assert_allclose(found.eigenvectors, vectors[kept].numpy(), atol=1e-9)
    assert len(found.masks) == len(found.boxes) == len(found.scores) == int(kept.sum()) > 0
    for mask, (left, top, right, bottom) in zip(found.masks, found.boxes.astype(int)):
        assert mask.sum() == mask[top:bottom, left:right].sum() > 0


def test_every_form_of_an_image(infer, tmp_path):
    image = noise()
    path = tmp_path / 'photo.png'
    Image.fromarray(image).save(path)
    (tmp_path / 'list.txt').write_text(f'{path}\n')
    (expected,) = infer(image)
    assert (expected.name, expected.image.shape, expected.attention.shape) == ('000000.png', image.shape, (2, 6, 8))
    turned = Image.fromarray(np.rot90(image))
    turned.getexif()[0x0112] = 6  # stored lying: to be turned clockwise
    forms = [path, str(path), tmp_path, tmp_path / 'list.txt']
    forms += [Image.fromarray(image), turned, [image], (one for one in [path])]
    for form in forms:
        (found,) = infer(form)
        assert same(found, expected), form
    assert infer(tmp_path)[0].name == 'photo.png'


def test_a_video_frame_by_frame(infer, tmp_path):
    path = str(tmp_path / 'clip.avi')
    clip = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'FFV1'), 10, (50, 40))  # without loss
    for seed in range(2):
        clip.write(noise(seed)[..., ::-1])
    clip.release()
    for form in (path, mmcv.VideoReader(path)):
        found = infer(form, out_dir=tmp_path / 'out')
        assert [one.name for one in found] == ['000000.jpg', '000001.jpg']
        assert np.abs(found[1].image.astype(int) - noise(1)).max() <= 2  # the colours of a video are rounded
        assert sorted(file.name for file in (tmp_path / 'out').iterdir()) == ['000000.jpg', '000001.jpg']


def test_pictures_of_equal_names_are_kept_apart(infer, tmp_path):
    paths = [tmp_path / folder / 'photo.png' for folder in 'ab']
    for seed, path in enumerate(paths):
        path.parent.mkdir()
        Image.fromarray(noise(seed)).save(path)
    found = infer(paths, out_dir=tmp_path / 'out')
    pictures = [np.asarray(Image.open(tmp_path / 'out' / name)) for name in ('photo.png', '000001-photo.png')]
    assert all(np.array_equal(*pair) for pair in zip(pictures, (one.draw() for one in found)))


def test_a_vit_without_cls_has_no_attention():
    infer = MaskCutInferencer(crate(with_cls_token=False, out_type='featmap'), device='cpu', size=SIZE)
    assert infer(noise())[0].attention is None


@pytest.mark.parametrize('name', ['crate-w192d5-p4_tinyimagenet100', 'vit-w192d5-p4_tinyimagenet100'])
def test_the_models_of_this_project(name):
    infer = MaskCutInferencer(name, device='cpu', num_masks=1)
    assert infer.size == (240, 240)
    assert infer.detector.num_masks == 1
    infer.size = (32, 32)
    assert infer(noise())[0].attention.shape[1:] == (8, 8)


def test_a_short_name_is_loaded_by_its_library(monkeypatch):
    loaded = []
    load = lambda name, is_folder: loaded.append(name) or (crate(), [0.5] * 3, [0.25] * 3)  # noqa: E731
    monkeypatch.setattr(library_vit, 'LOADERS', dict(timm=load))
    infer = MaskCutInferencer('dinov2-small', device='cpu', tau=0.3)
    assert loaded == ['vit_small_patch14_dinov2.lvd142m']
    assert (infer.detector.tau, infer.size) == (0.3, (240, 240))
    assert infer.detector.data_preprocessor.std.flatten().tolist() == [63.75] * 3


def test_a_checkpoint_with_its_config(tmp_path):
    path = save_training(tmp_path / 'a' / 'epoch_3.pth')
    infer = MaskCutInferencer(path, device='cpu', size=SIZE)
    weights = torch.load(path, weights_only=False)['state_dict']
    for name, value in infer.detector.backbone.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{name}'])


def mistakes(folder):
    (folder / 'empty').mkdir()
    (folder / 'broken.png').write_bytes(b'')
    (folder / 'config.py').write_text('model = dict()')
    torch.save(dict(state_dict={}), folder / 'bare.pth')
    yield 'model', 'crate-small', 'no such file or folder, and none of crate-w192d5-p4_tinyimagenet100, '
    yield 'model', folder / 'config.py', 'a config has no weights'
    yield 'model', folder / 'bare.pth', r'name one with MaskCutInferencer\(config, checkpoint\)'
    yield 'model', folder / 'none/vit', 'backbone .*none/vit: no such folder'
    yield 'model', nn.Linear(1, 1), 'Linear: its attention cannot be read'
    yield 'input', folder / 'none.jpg', 'none.jpg is neither a folder'
    yield 'input', folder / 'none.mp4', 'video not found: .*none.mp4'
    yield 'input', folder / 'broken.png', 'no readable image in .*broken.png'
    yield 'input', folder / 'empty', 'no images in .*empty'
    yield 'input', [], 'no image: the list'
    yield 'input', noise()[0], r'an array must be \(H, W, 3\) uint8 RGB, not \(50, 3\) uint8'
    yield 'input', noise() / 255, r'not \(40, 50, 3\) float64'
    yield 'input', torch.zeros(3, 4, 4), 'Tensor is no image'


def test_mistakes_are_one_line(infer, tmp_path):
    for what, value, message in mistakes(tmp_path):
        with pytest.raises(UserError, match=message) as error:
            MaskCutInferencer(value, device='cpu') if what == 'model' else infer(value)
        assert '\n' not in str(error.value)
