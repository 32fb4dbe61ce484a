"""AttentionHook in real trainings of tiny models."""

import json

import numpy as np
import pytest
from PIL import Image
from toy_hooks import EPOCHS, ITERATIONS, assert_unnoticed, train_dense
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


def backends(folder):
    return dict(
        type='Visualizer',
        vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')],
        save_dir=str(folder / 'vis'),
    )


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


def test_every_backend_gets_picture_and_scalar(tmp_path, photographs):
    loader = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator', reason='needs tensorboard')
    changes = dict(visualizer=backends(tmp_path))
    train(toy(tmp_path, photographs, ITERATIONS, changes, by_epoch=False, interval=5))
    (events,) = tmp_path.glob('**/events.out.tfevents*')
    seen = loader.EventAccumulator(str(events.parent)).Reload()
    assert 'attention/patches' in seen.Tags()['scalars'] and seen.Tags()['images'] == ['attention']
    assert [path.name for path in tmp_path.glob('**/vis_image/*')] == ['attention_5.png']


def test_training_does_not_notice(tmp_path, photographs):
    pytest.importorskip('mmpretrain')
    make_sample_set(tmp_path, 'imagenet', SampleSpec(train=16, val=8, size=(24, 24), seed=1))
    hook = dict(type='AttentionHook', images=[str(photographs[0])], size=(16, 16), use_ema=True, initial=True)
    assert_unnoticed(tmp_path, tmp_path, dict(EPOCHS, max_epochs=2), 0, hook)


@pytest.mark.parametrize('library', ['mmdet', 'mmseg'])
def test_detectors_and_segmentors(tmp_path, photographs, library):
    train_dense(tmp_path, library, dict(type='AttentionHook', images=[str(photographs[1])], interval=2))
    assert (tmp_path / 'run' / 'attention' / 'animation.gif').is_file()


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
