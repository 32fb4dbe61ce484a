"""AttentionHook in real trainings of tiny models."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from toy_hooks import EPOCHS, ITERATIONS, assert_unnoticed, train_tiny
from toy_runs import config, train

from projects.crate.datasets import SampleSpec, make_sample_set
from projects.crate.errors import UserError
from projects.crate.study.attention import attention_picture
from projects.crate.study.images import read_images
from projects.crate.study.observer import Observer

pytestmark = pytest.mark.usefixtures('fast_runner')


@pytest.fixture
def photographs(tmp_path):
    """Two photographs of different sizes."""
    paths = [tmp_path / 'upright.png', tmp_path / 'wide.png']
    for seed, (path, shape) in enumerate(zip(paths, [(12, 8, 3), (8, 13, 3)])):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return paths


def toy(folder, photographs, loop=EPOCHS, changes=None, **options):
    """A CRATE that is trained on numbers; its backbone is 'net.backbone'."""
    hook = dict(type='AttentionHook', images=[*map(str, photographs)], backbone='net.backbone', layer=0)
    return config(folder, loop=loop, model=dict(type='ToyCRATE'), custom_hooks=[{**hook, **options}], **(changes or {}))


def seen_by_tensorboard(folder):
    """The pictures and the scalars in a run's file for TensorBoard."""
    loader = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    (events,) = folder.glob('*/vis_data/events.out.tfevents*')
    seen = loader.EventAccumulator(str(events.parent)).Reload()
    pictures = [Image.open(io.BytesIO(each.encoded_image_string)) for each in seen.Images('attention')]
    return pictures, seen.Tags()['scalars']


def seen_by_wandb(folder):
    """The pictures and the scalars of an offline run of W&B, which it numbers by itself."""
    pytest.importorskip('wandb').teardown()  # its process writes the file after the end of the run
    (records,) = folder.glob('*/vis_data/wandb/offline-run-*/*.wandb')
    paths = records.parent.glob('files/media/images/attention_*.png')
    pictures = [Image.open(path) for path in sorted(paths, key=lambda path: int(path.stem.split('_')[1]))]
    return pictures, [name for name in ('attention/patches', 'loss') if name.encode() in records.read_bytes()]


def test_what_a_run_leaves(tmp_path, photographs):
    runner = train(toy(tmp_path, photographs, interval=2, initial=True))
    folder = tmp_path / 'run' / 'attention'
    names = {'curve.json', 'animation.gif', *(f'epoch_{step}.png' for step in (0, 2, 3))}
    assert {path.name for path in folder.iterdir()} == names

    # the last measurement, by the observer of the figures
    (hook,) = (hook for hook in runner.hooks if type(hook).__name__ == 'AttentionHook')
    images = [read_images(path)[0][1] for path in photographs]
    observer = Observer(runner.model.net.backbone, hook.find_backbone(runner, False)[1])
    maps = [observer.attention(image, [0])[0] for image in images]
    assert np.array_equal(np.asarray(Image.open(folder / 'epoch_3.png')), attention_picture(images, maps))
    spread = [np.exp(-(head * np.log(head)).sum()) for each in maps for head in each]
    record = json.loads((folder / 'curve.json').read_text())[-1]
    assert record == dict(step=3, patches=pytest.approx(np.mean(spread), rel=1e-5))
    assert Image.open(folder / 'animation.gif').n_frames == 3


def test_pictures_by_iteration(tmp_path, photographs):
    train(toy(tmp_path, photographs, ITERATIONS, by_epoch=False, interval=3))
    names = {path.name for path in (tmp_path / 'run' / 'attention').glob('iter_*')}
    assert names == {'iter_3.png', 'iter_5.png'}


def test_training_does_not_notice(tmp_path, photographs):
    pytest.importorskip('mmpretrain')
    make_sample_set(tmp_path, 'imagenet', SampleSpec(train=16, val=8, size=(24, 24), seed=1))
    hook = dict(type='AttentionHook', images=[str(photographs[0])], size=(16, 16), use_ema=True, initial=True)
    assert_unnoticed(tmp_path, tmp_path, dict(EPOCHS, max_epochs=2), 0, hook)


@pytest.mark.parametrize('backend', ['Tensorboard', 'Wandb'])
@pytest.mark.parametrize('library', ['mmpretrain', 'mmdet', 'mmseg'])
def test_backends_of_every_library(tmp_path, photographs, monkeypatch, library, backend):
    """The library's own visualizer passes pictures and scalars on; W&B is offline, and optional."""
    pytest.importorskip(backend.lower())
    monkeypatch.setenv('WANDB_MODE', 'offline')
    kind = dict(mmpretrain='UniversalVisualizer', mmdet='DetLocalVisualizer', mmseg='SegLocalVisualizer')[library]
    backends = [dict(type=f'{each}VisBackend') for each in ('Local', backend)]
    hook = dict(type='AttentionHook', images=[str(photographs[1])], initial=True)
    train_tiny(tmp_path, library, hook, visualizer=dict(type=kind, vis_backends=backends))

    folder = tmp_path / 'run'
    drawn = [np.asarray(Image.open(folder / f'attention/epoch_{step}.png')) for step in range(3)]
    pictures, scalars = dict(Tensorboard=seen_by_tensorboard, Wandb=seen_by_wandb)[backend](folder)
    assert len(pictures) == 3 and all(map(np.array_equal, map(np.asarray, pictures), drawn))
    assert {'attention/patches', 'loss'} <= {*scalars}
    kept = [path.name for path in sorted(folder.glob('*/vis_data/vis_image/*'))]
    assert kept == [f'attention_{step}.png' for step in range(3)]
    assert Image.open(folder / 'attention/animation.gif').n_frames == 3


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(images=[]), 'images is empty'),
        (dict(images=['gone.png']), 'damaged image gone.png: No such file'),
        (dict(layer=7), 'has no layer 7'),
    ],
    ids=str,
)
def test_mistakes_show_before_training(tmp_path, photographs, options, message):
    with pytest.raises(UserError, match=message):
        train(toy(tmp_path, photographs, **options))
