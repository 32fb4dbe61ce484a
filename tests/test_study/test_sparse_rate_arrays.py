from pathlib import Path

import numpy as np
import pytest
import toy_observer as toy
from mmengine.config import Config
from tiny_models import crate
from toy_runs import load_tool

from projects.crate.evaluation.sparse_rate import coding_rate, nonzero_share
from projects.crate.study.images import read_images
from projects.crate.study.observer import Observer
from projects.crate.study.sparse_rate import layer_rates


def oracle(observer, image):
    """(compression, nonzero) of each layer, one after the other."""
    seen = [observer.observe([image], [layer], outputs=True)[layer] for layer in range(observer.num_layers)]
    return zip(*((coding_rate(s.features, observer.num_heads).item(), nonzero_share(s.output).item()) for s in seen))


@pytest.mark.parametrize('kind', ['CRATE', 'ViT'])
def test_rates_of_images_of_several_sizes(kind):
    observer = Observer(toy.backbone(kind), toy.PREPROCESSOR)
    images = [toy.picture(seed=0), toy.picture(seed=1)[:9, :16], toy.picture(seed=2)]
    paths, rates = layer_rates(observer, ((Path(f'{i}.png'), image) for i, image in enumerate(images)))
    assert paths == [Path('0.png'), Path('1.png'), Path('2.png')]
    assert rates['compression'].shape == rates['nonzero'].shape == (3, 3)
    for index, image in enumerate(images):
        compression, nonzero = oracle(observer, image)
        np.testing.assert_allclose(rates['compression'][:, index], compression)
        np.testing.assert_allclose(rates['nonzero'][:, index], nonzero)
    assert (rates['nonzero'] == 1).all() == (kind == 'ViT')
    assert len(np.unique(rates['compression'])) == 9


def test_layers_that_do_not_run_are_left_out():
    observer = Observer(crate(out_indices=1), toy.PREPROCESSOR)
    _, rates = layer_rates(observer, [(Path('0.png'), toy.picture())])
    assert rates['compression'].shape == (2, 1)


def test_command(tmp_path, capsys):
    config, checkpoint = toy.config(tmp_path), toy.checkpoint(tmp_path / 'weights.pth')
    images, out = toy.save_pictures(tmp_path / 'images'), tmp_path / 'out'
    arguments = [config, checkpoint, images, '--size', 8, 16, '--out', out]
    assert load_tool('analysis_tools/figures')(['sparse-rate', *map(str, arguments)]) == 0
    printed = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {f'sparse_rate.{suffix}' for suffix in ('png', 'pdf', 'npz')}
    observer = Observer.from_config(Config.fromfile(config), str(checkpoint))
    paths, expected = layer_rates(observer, read_images(images, (8, 16)))
    with np.load(out / 'sparse_rate.npz') as found:
        assert found['names'].tolist() == [*map(str, paths)] and len(paths) == 3
        for key, values in expected.items():
            np.testing.assert_array_equal(found[key], values)
    for layer, (rates, shares) in enumerate(zip(expected['compression'], expected['nonzero'])):
        row = next(line for line in printed.splitlines() if line.split()[:1] == [str(layer)])
        assert f'{rates.mean():.2f} ± {rates.std():.2f}' in row and f'{shares.mean():.3f} ± {shares.std():.3f}' in row
