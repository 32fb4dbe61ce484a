"""The figures that show images, by the real command: files, what they hold, and messages."""

from pathlib import Path

import numpy as np
import pytest
import toy_observer as toy
from mmengine.config import Config
from PIL import Image
from toy_runs import ROOT, load_tool, run_tool

from projects.crate.models import CRATE
from projects.crate.study.images import read_images
from projects.crate.study.noise import noise_grid
from projects.crate.study.observer import Observer
from projects.crate.study.pca import first_components, remove_background

TOOL = 'analysis_tools/figures'


@pytest.fixture
def run(tmp_path):
    """CONFIG, CHECKPOINT and IMAGES: three images and a file that is none."""
    config, checkpoint = toy.config(tmp_path), toy.checkpoint(tmp_path / 'weights.pth')
    return config, checkpoint, toy.save_pictures(tmp_path / 'images')


def observer_of(run):
    return Observer.from_config(Config.fromfile(run[0]), str(run[1]))


def figures(run, name, *options):
    """Exit status; the files lie in ``out`` beside the config."""
    arguments = [name, *run, '--out', Path(run[0]).parent / 'out', *options]
    return load_tool(TOOL)([str(argument) for argument in arguments])


def files(run):
    return sorted(path.name for path in (Path(run[0]).parent / 'out').iterdir())


def read(run, name):
    with np.load(Path(run[0]).parent / 'out' / name) as file:
        return dict(file)


def picture_size(run, name):
    """(width, height)."""
    with Image.open(Path(run[0]).parent / 'out' / name) as picture:
        return picture.size


def three(*stems):
    return sorted(f'{stem}.{suffix}' for stem in stems for suffix in ('npz', 'pdf', 'png'))


def test_attention_by_pages(run, capsys):
    assert figures(run, 'attention', '--layer', '-2', '--rows', 2, '--outline') == 0
    out, err = capsys.readouterr()
    assert files(run) == three('attention_layer1_page01', 'attention_layer1_page02')
    assert [Path(line).name for line in out.splitlines()] == [
        f'attention_layer1_page0{page}.{suffix}' for page in (1, 2) for suffix in ('png', 'pdf', 'npz')
    ]
    assert 'figures: unreadable, left out: 1 of 4 images' in err.splitlines()
    first, second = (read(run, f'attention_layer1_page0{page}.npz') for page in (1, 2))
    assert sorted(first) == ['maps_0', 'maps_1', 'masks_0', 'masks_1', 'names'] and len(second) == 3
    assert [Path(name).name for name in [*first['names'], *second['names']]] == ['0.png', '1.png', '2.png']
    expected = observer_of(run).attention(toy.picture(seed=2), [1])[1]
    np.testing.assert_array_equal(second['maps_0'], expected)
    assert picture_size(run, 'attention_layer1_page01.png')[1] > picture_size(run, 'attention_layer1_page02.png')[1]


def test_attention_of_a_backbone_of_one_channel(tmp_path):
    grey = dict(toy.BACKBONE, in_channels=1)
    model = CRATE(**{key: value for key, value in grey.items() if key != 'type'})
    head = dict(type='LinearClsHead', num_classes=2, in_channels=24)
    cfg = toy.config(
        tmp_path,
        model=dict(type='ImageClassifier', backbone=grey, head=head),
        data_preprocessor=dict(mean=[127.0], std=[60.0], to_rgb=True),
    )
    run = cfg, toy.checkpoint(tmp_path / 'weights.pth', model), toy.save_pictures(tmp_path / 'images', number=1)
    assert figures(run, 'attention') == 0
    assert files(run) == three('attention_layer2_page01')


def test_attention_of_each_image_resized(run):
    options = ['--size', 8, 12, '--rule', 'top', '--share', 0.5, '--width', 0.5]
    assert figures(run, 'attention', '--per-image', *options) == 0
    assert files(run) == three(*(f'attention_layer2_000{number}_{number - 1}' for number in (1, 2, 3)))
    width, _ = picture_size(run, 'attention_layer2_0001_0.png')
    assert 150 * 4 * 0.5 < width < 150 * 4 * 0.8  # an image and three heads at 150 dots per inch, and the margins
    found = read(run, 'attention_layer2_0001_0.npz')
    assert found['maps_0'].shape == (3, 2, 3) and (found['masks_0'].sum((1, 2)) == 3).all()


def test_pca_with_and_without_background(run):
    assert figures(run, 'pca', '--threshold', 2, '--layer', 0) == 0
    assert figures(run, 'pca-layers', '--layers', -1, 0) == 0
    assert files(run) == three('pca_layer0', 'pca_layers')
    observer = observer_of(run)
    features = [observer.features(image, [0, 2]) for _, image in read_images(run[2])]
    expected = remove_background([grids[0] for grids in features], threshold=2)
    found = read(run, 'pca_layer0.npz')
    for index in range(3):
        np.testing.assert_array_equal(found[f'masks_{index}'], expected.masks[index])
        np.testing.assert_array_equal(found[f'colours_{index}'], expected.colours[index])
    found = read(run, 'pca_layers.npz')
    for layer in (0, 2):
        grey, colours = first_components([grids[layer] for grids in features])
        np.testing.assert_array_equal(found[f'component1_layer{layer}_1'], grey[1])
        np.testing.assert_array_equal(found[f'components2to4_layer{layer}_2'], colours[2])


def test_pca_of_another_facet(run):
    assert figures(run, 'pca', '--threshold', 0) == 0
    before = read(run, 'pca_layer2.npz')['projections_0']
    assert figures(run, 'pca', '--threshold', 0, '--facet', 'token') == 0
    assert figures(run, 'pca-layers', '--layers', 2, '--facet', 'token', '--centred') == 0
    assert not np.allclose(read(run, 'pca_layer2.npz')['projections_0'], before)


def test_masks_of_models_by_name(tmp_path, capsys):
    images, out = toy.save_pictures(tmp_path / 'images'), tmp_path / 'out'
    models = ['crate-w192d5-p4_tinyimagenet100', 'vit-w192d5-p4_tinyimagenet100']
    words = ['masks', images, *models, '--size', 16, 16, '--out', out]
    assert load_tool(TOOL)([str(word) for word in words]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / f'masks-{model}.jpg') for model in models]
    assert {Image.open(out / f'masks-{model}.jpg').size for model in models} == {(3 * 244, 244)}
    assert load_tool(TOOL)(['masks', str(images), 'crate-small']) == 1
    assert 'crate-small: no such file or folder' in capsys.readouterr().err


def test_the_other_side_is_the_foreground(run):
    masks = []
    for options in ([], ['--flip']):
        assert figures(run, 'pca', '--threshold', 0, *options) == 0
        masks.append(read(run, 'pca_layer2.npz')['masks_0'])
    np.testing.assert_array_equal(masks[0], ~masks[1])


def test_noise(run):
    one = (*run[:2], run[2] / '1.png')
    assert figures(one, 'noise', '--std', 20, 60, '--share', 0.5, '--seed', 4, '--layer', 1) == 0
    assert files(run) == three('noise_layer1_0001_1')
    found = read(run, 'noise_layer1_0001_1.npz')
    noisy, maps = noise_grid(observer_of(run), toy.picture(seed=1), 1, [20, 60], [0.5], seed=4)
    np.testing.assert_array_equal(found['noisy'], noisy)
    np.testing.assert_array_equal(found['maps'], maps)
    assert found['std'].tolist() == [20, 60] and found['share'].tolist() == [0.5]


def test_figures_of_a_vision_transformer(tmp_path):
    config = toy.config(tmp_path, model=dict(type='ImageClassifier', backbone=toy.VIT))
    run = config, toy.checkpoint(tmp_path / 'vit.pth', toy.backbone('ViT')), toy.save_pictures(tmp_path / 'images', 2)
    for name in ('attention', 'pca', 'pca-layers', 'noise'):
        options = dict(pca=['--threshold', 0], noise=['--std', 10, '--share', 0.5]).get(name, [])
        assert figures(run, name, *options) == 0
    assert len(files(run)) == 3 * (1 + 1 + 1 + 2)


@pytest.mark.parametrize(
    'words', [['noise', '--seed', '-1'], ['attention', '--width', '-1'], ['attention', '--width', 'nan']]
)
def test_numbers_that_no_figure_takes(words, capsys):
    with pytest.raises(SystemExit):
        load_tool('analysis_tools/figures')([words[0], 'config.py', 'model.pth', 'images', *words[1:]])
    assert f'argument {words[1]}: must be' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['attention', 'noise'])
def test_no_picture_of_nan(tmp_path, name, capsys):
    weights = toy.backbone()
    weights.layers[0].attn.qkv.weight.data.fill_(float('nan'))
    checkpoint, images = toy.checkpoint(tmp_path / 'nan.pth', weights), toy.save_pictures(tmp_path / 'images', 1)
    words = [name, toy.config(tmp_path), checkpoint, images, '--out', tmp_path / 'figures']
    assert load_tool('analysis_tools/figures')([*map(str, words)]) == 1
    assert capsys.readouterr().err.endswith('figures: the attention holds NaN or inf; check the checkpoint\n')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['attention', '--layer', '3'], 'CRATE has no layer 3: it has 3 layers, the first is 0'),
        (['pca-layers', '--layers', '0', '-4'], 'CRATE has no layer -4'),
        (['pca', '--threshold', '1e6'], 'no patch has a projection of 1e+06 on the leading eigenvector'),
        (['attention', '--share', '2'], 'share must lie in (0, 1], not 2.0'),
        (['noise', '--share', '7'], 'a share from 0 to 1'),
        (['noise', '--std', 'nan'], 'noise needs std >= 0'),
        (['attention', '--cfg-options', 'x'], '--cfg-options takes KEY=VALUE pairs, not x'),
    ],
)
def test_mistakes_are_told_in_a_line(run, arguments, message, capsys):
    name, *options = arguments
    assert figures(run, name, *options) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if 'images/s' not in line and 'left out' not in line]
    assert len(error) == 1 and error[0].startswith('figures: ') and message in error[0]
    assert not Path(run[0]).with_name('out').exists()


def test_missing_files_are_named(run, tmp_path, capsys):
    for position, message in enumerate(['config not found', 'checkpoint not found', 'images not found']):
        arguments = list(run)
        arguments[position] = tmp_path / 'none'
        assert figures((run[0], *arguments[1:]) if position else arguments, 'attention') == 1
        assert f'figures: {message}: {tmp_path}/none' in capsys.readouterr().err


def test_help_needs_no_library():
    """It names every figure, and each figure what it takes, before torch is imported."""
    for arguments, words in {(): ('attention', 'pca-layers', 'noise'), ('noise',): ('--std', '--share')}.items():
        help_text = run_tool(f'{TOOL}.py', *arguments, '--help', PYTHONPROFILEIMPORTTIME='1')
        assert all(word in help_text.stdout for word in words)
        assert 'argparse' in help_text.stderr and 'torch' not in help_text.stderr
    assert (ROOT / 'tools' / f'{TOOL}.py').is_file()
