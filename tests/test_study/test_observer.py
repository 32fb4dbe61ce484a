from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import toy_observer as toy
from mmengine.config import Config
from mmengine.logging import MMLogger
from operators import Record
from PIL import Image
from tiny_models import ARCH

from projects.crate.errors import UserError
from projects.crate.models import CRATE, observe
from projects.crate.progress import Progress
from projects.crate.study.images import iterate_images, read_images
from projects.crate.study.observer import Observer

KINDS = ['CRATE', 'ViT']


def inputs_of(observer, images):
    """What the backbone was given."""
    given = []
    handle = observer.backbone.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    observer.observe(images, [0])
    handle.remove()
    return given[0]


def state(model):
    """What an observer could leave behind."""
    hooks = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())
    return [part.training for part in model.modules()], hooks, [p.grad is None for p in model.parameters()]


@pytest.mark.parametrize(
    ('cfg', 'mean', 'std', 'step'),
    [
        (None, 0, 1, -1),
        (toy.PREPROCESSOR, toy.MEAN, toy.STD, 1),
        (dict(type='DetDataPreprocessor', mean=toy.MEAN, std=toy.STD, bgr_to_rgb=True), toy.MEAN, toy.STD, 1),
        (dict(type='Wrapper', data_preprocessor=toy.PREPROCESSOR), toy.MEAN, toy.STD, 1),
        (dict(mean=toy.MEAN, std=toy.STD, pad_size_divisor=32), toy.MEAN, toy.STD, -1),
    ],
)
def test_the_backbone_sees_normalised_pixels(cfg, mean, std, step):
    images = [toy.picture(seed=0), toy.picture(seed=1)]
    expected = (np.stack(images)[..., ::step].astype(np.float64) - mean) / std
    given = inputs_of(Observer(toy.backbone(), cfg), images)
    np.testing.assert_allclose(given.numpy(), expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('kind', ['linear', 'conv'])
def test_a_backbone_of_one_channel_sees_grey(kind):
    backbone = CRATE(arch=ARCH, img_size=16, patch_size=4, in_channels=1, patch_embed=kind)
    image = toy.picture()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    given = inputs_of(Observer(backbone, dict(mean=[100.0], std=[50.0], to_rgb=True)), [image])
    np.testing.assert_allclose(given.numpy(), (grey[None, None].astype(np.float64) - 100) / 50, rtol=1e-5, atol=1e-6)


def test_a_backbone_of_other_channels_is_refused():
    with pytest.raises(UserError, match='images of 4 channels'):
        Observer(CRATE(arch=ARCH, img_size=16, patch_size=4, in_channels=4))


@pytest.mark.parametrize('kind', KINDS)
def test_maps_are_those_of_the_backbone(kind):
    """18 x 25 pixels are 5 x 7 tokens of 4 x 4: the backbone pads the rest."""
    model, image = toy.backbone(kind), toy.picture()
    observer = Observer(model, toy.PREPROCESSOR)
    assert (observer.num_layers, observer.num_heads, observer.patch_size) == (3, 3, (4, 4))
    assert observer.grid((18, 25)) == (5, 7)
    before = state(model)
    maps, features = observer.attention(image, range(3)), observer.features(image, [0, -1])
    assert state(model) == before
    model.eval()
    pixels = torch.from_numpy(((image - np.array(toy.MEAN)) / toy.STD).transpose(2, 0, 1)).float()[None]
    with torch.no_grad(), observe(model, [0, 1, 2]) as seen:
        model(pixels)
    for layer in range(3):
        rows = seen[layer].attention()[0, :, 0, 1:]
        expected = (rows / rows.sum(1, keepdim=True)).reshape(3, 5, 7)
        np.testing.assert_allclose(maps[layer], expected, rtol=1e-4)
        assert maps[layer].dtype == np.float32
    assert list(features) == [0, -1]
    np.testing.assert_allclose(features[-1], seen[2].patch_features[0].reshape(5, 7, 24), atol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_no_n_by_n_matrix(kind):
    """No operator returns as much as the attention of all tokens to all others in a single head."""
    observer, image = Observer(toy.backbone(kind)), toy.picture(96, 128)
    tokens = 24 * 32 + 1
    with Record() as record:
        observer.attention(image, range(3))
        observer.features(image, range(3))
    sizes = [np.prod(shape) for _, shapes in record.calls for shape in shapes]
    assert max(sizes) < tokens**2
    assert sum('scaled_dot_product_flash_attention' in name for name, _ in record.calls) == 6


def test_several_images_are_one_batch():
    images = [toy.picture(seed=seed) for seed in range(3)]
    observer = Observer(toy.backbone(), toy.PREPROCESSOR)
    seen = observer.observe(images, [1])
    for index, image in enumerate(images):
        alone = observer.attention(image, [1])[1]
        np.testing.assert_allclose(seen[1].cls_attention()[index].unflatten(-1, (5, 7)), alone, atol=1e-6)
    with pytest.raises(ValueError, match=r'several sizes: \(18, 25\), \(25, 18\)'):
        observer.observe([toy.picture(18, 25), toy.picture(25, 18)], [1])


def test_layers_are_named_and_checked():
    observer = Observer(toy.backbone())
    assert [observer.number(layer) for layer in (0, 2, -1, -3)] == [0, 2, 2, 0]
    for layer in (3, -4):
        with pytest.raises(IndexError, match=f'no layer {layer}'):
            observer.number(layer)


@pytest.mark.parametrize('kind', KINDS)
def test_backbone_of_a_classifier(kind, tmp_path):
    model = toy.backbone(kind)
    cfg = dict(type='ImageClassifier', backbone=toy.BACKBONE if kind == 'CRATE' else toy.VIT)
    config = Config.fromfile(toy.config(tmp_path, model=cfg))
    observer = Observer.from_config(config, str(toy.checkpoint(tmp_path / 'weights.pth', model)), device='cpu')
    expected = Observer(model, toy.PREPROCESSOR).attention(toy.picture(), [1])[1]
    np.testing.assert_array_equal(observer.attention(toy.picture(), [1])[1], expected)


@pytest.mark.parametrize('scope', ['mmdet', None])
def test_backbone_of_any_config(scope, tmp_path):
    """The normalisation may stand in the model, and the backbone be one of several parts."""
    preprocessor = dict(type='DetDataPreprocessor', mean=toy.MEAN, std=toy.STD, bgr_to_rgb=True)
    model = dict(type='FCOS', data_preprocessor=preprocessor, backbone=toy.BACKBONE, neck=dict(type='ChannelMapper'))
    cfg = Config.fromfile(toy.config(tmp_path, default_scope=scope, model=model, data_preprocessor=None))
    observer = Observer.from_config(cfg, str(toy.checkpoint(tmp_path / 'weights.pth')))
    assert torch.allclose(inputs_of(observer, [np.zeros((8, 8, 3), np.uint8)])[0, 0], torch.tensor(-123.675 / 58.395))


@pytest.mark.parametrize('kind', KINDS)
def test_without_a_checkpoint_the_weights_are_random_ones(kind, tmp_path):
    """As a training would draw them: mmpretrain's ViT has zeros for positions until then. Nothing is logged."""
    cfg = Config.fromfile(
        toy.config(tmp_path, model=dict(type='X', backbone=toy.BACKBONE if kind == 'CRATE' else toy.VIT))
    )
    logger = MMLogger.get_current_instance()
    level, messages = logger.level, []
    logger.addFilter(lambda record: messages.append(record) or True)
    observers = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        observers.append(Observer.from_config(cfg, None))
    first, same, other = (observer.attention(toy.picture(), [1])[1] for observer in observers)
    assert np.array_equal(first, same) and not np.array_equal(first, other)
    assert observers[0].backbone.pos_embed.std() > 0
    assert (logger.level, messages) == (level, [])


def bad_checkpoints(folder):
    good = torch.load(toy.checkpoint(folder / 'good.pth'), weights_only=True)['state_dict']
    some = {key: value for key, value in good.items() if 'layers.2' not in key}
    return {
        'missing': (dict(state_dict=some), r'8 weights \(layers\.2\.ln1\.weight, .*\.\.\.\) missing'),
        'head only': (dict(state_dict={'head.fc.bias': torch.zeros(2)}), r'weights \(.*\) missing'),
        'shape': (dict(state_dict={**good, 'backbone.ln1.weight': torch.zeros(5)}), 'other shapes: ln1.weight'),
        'no tensors': (dict(epoch=3), 'holds no weights by name, only epoch'),
    }


def test_checkpoints_that_do_not_fit_are_refused_in_a_line(tmp_path):
    cfg = Config.fromfile(toy.config(tmp_path))
    for name, (content, message) in bad_checkpoints(tmp_path).items():
        path = tmp_path / f'{name}.pth'
        torch.save(content, path)
        with pytest.raises(UserError, match=message) as error:
            Observer.from_config(cfg, str(path))
        assert str(path) in str(error.value) and '\n' not in str(error.value), name
    with pytest.raises(UserError, match='checkpoint not found'):
        Observer.from_config(cfg, str(tmp_path / 'none.pth'))


def test_unused_weights_of_the_backbone_are_told(tmp_path):
    path = toy.checkpoint(tmp_path / 'weights.pth', **{'backbone.layers.3.ln1.weight': torch.zeros(2)})
    messages = []
    MMLogger.get_current_instance().addFilter(lambda record: messages.append(record.getMessage()) or True)
    Observer.from_config(Config.fromfile(toy.config(tmp_path)), str(path))
    assert messages == [f'not used from {path}: 1 weights (layers.3.ln1.weight)']


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        (dict(type='X'), 'has no model.backbone'),
        (dict(type='X', backbone=dict(type='mmpretrain.ResNet', depth=18)), 'ResNet: its attention cannot be read'),
        (dict(type='X', backbone=dict(toy.BACKBONE, depth=3)), "unexpected keyword argument 'depth'"),
    ],
)
def test_configs_that_do_not_fit_are_refused_in_a_line(model, message, tmp_path):
    cfg = Config.fromfile(toy.config(tmp_path, model=model))
    with pytest.raises(UserError, match=message) as error:
        Observer.from_config(cfg, None)
    assert str(error.value).startswith(str(cfg.filename)) and '\n' not in str(error.value)


def test_images_of_a_folder_a_file_and_a_list(tmp_path, capsys):
    folder = toy.save_pictures(tmp_path / 'images')
    found = read_images(folder)
    assert [path.name for path, _ in found] == ['0.png', '1.png', '2.png']
    for index, (_, image) in enumerate(found):
        np.testing.assert_array_equal(image, toy.picture(seed=index))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f'images: unreadable, left out: {folder}/broken.jpg (truncated JPEG')
    assert lines[1:] == ['images: unreadable, left out: 1 of 4 images']
    (path, image), *rest = read_images(folder / '1.png')
    assert path == folder / '1.png' and np.array_equal(image, found[1][1]) and not rest
    (tmp_path / 'list.txt').write_text(f'{folder}/2.png\n{folder}/0.png\n')
    assert [path for path, _ in read_images(str(tmp_path / 'list.txt'))] == [folder / '2.png', folder / '0.png']


def test_images_are_read_one_after_the_other(tmp_path):
    folder = toy.save_pictures(tmp_path / 'images')
    images = iterate_images(folder)
    next(images)
    (folder / '1.png').unlink()
    assert [path.name for path, _ in images] == ['2.png']


@pytest.mark.parametrize('taken', [1, 3])
def test_the_progress_ends_with_the_images(taken, tmp_path):
    """Also where whoever takes them stops early: a terminal would keep the bar, and no cursor."""
    folder, ends = toy.save_pictures(tmp_path / 'images'), []

    class Spy(Progress):
        def __exit__(self, *error):
            ends.append(self._progress.tasks[0].completed)
            super().__exit__(*error)

    images = iterate_images(folder, report=Spy('spy', shows_progress=False))
    for _ in range(taken):
        next(images)
    assert not ends
    images.close()
    assert ends == [taken - 1]


def test_images_are_resized_as_pil_does(tmp_path):
    folder = toy.save_pictures(tmp_path / 'images', number=1, size=(40, 30))
    [(_, image)] = read_images(folder / '0.png', size=(12, 20))
    expected = Image.open(folder / '0.png').convert('RGB').resize((20, 12), Image.LANCZOS)
    np.testing.assert_array_equal(image, np.asarray(expected))


def test_no_images_is_an_error(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken.png').write_bytes(b'')
    for source, message in {'empty': 'no images in', 'none': 'images not found', 'broken.png': 'no readable'}.items():
        with pytest.raises(UserError, match=message):
            read_images(Path(tmp_path, source))
