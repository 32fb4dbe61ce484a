import numpy as np
import pytest
from PIL import Image
from toy_maskcut import make_images

from projects.crate.datasets.image_list import list_images
from projects.crate.pseudo_labels.images import ImageBatches


@pytest.mark.parametrize('size', [1, 4, 5, 10, 16])
def test_batches_cover_the_list_once(tmp_path, size):
    images = list_images(make_images(tmp_path / 'images'), tmp_path)
    batches = ImageBatches(images, [dict(type='LoadImageFromFile')], size)
    loaded = [batches[number] for number in range(len(batches))]
    assert [batch.number for batch in loaded] == list(range(len(batches)))
    assert [id for batch in loaded for id in batch.ids] == list(range(1, 11))
    assert [name for batch in loaded for name in batch.names] == list(images)
    assert [batches.count(np.array([number])) for number in range(len(batches))] == [len(batch.ids) for batch in loaded]
    assert batches.count(np.arange(len(batches))) == 10
    assert batches.count(np.arange(0)) == 0


@pytest.mark.parametrize('loader', ['LoadImageFromFile', 'mmcv.LoadImageFromFile', 'LoadImageOrSkip'])
def test_unreadable_images_are_told_apart(tmp_path, loader):
    images = list_images(make_images(tmp_path / 'images'), tmp_path)
    path = tmp_path / 'images' / images[2]
    path.write_bytes(path.read_bytes()[:-60])
    (tmp_path / 'images' / images[3]).unlink()
    batch = ImageBatches(images, [dict(type=loader)], 4)[0]
    assert batch.ids == [1, 2]
    (cut, reason), (lost, error) = batch.unreadable
    assert (cut, lost) == (images[2], images[3])
    assert reason == 'truncated JPEG (no end-of-image marker)' and 'No such file' in error


def test_images_above_the_limit_are_unreadable(tmp_path, monkeypatch):
    images = list_images(make_images(tmp_path / 'images'), tmp_path)
    sizes = [np.prod(Image.open(tmp_path / 'images' / name).size) for name in images]
    limit = int(sorted(sizes)[-2])
    monkeypatch.setenv('CRATE_MAX_PIXELS', str(limit))
    batch = ImageBatches(images, [dict(type='LoadImageFromFile')], 10)[0]
    ((name, reason),) = batch.unreadable
    assert name == images[int(np.argmax(sizes))]
    assert f'pixels are more than {limit:,}' in reason and f'CRATE_MAX_PIXELS={max(sizes)}' in reason


def test_errors_that_are_not_the_files_are_raised(tmp_path):
    images = list_images(make_images(tmp_path / 'images'), tmp_path)
    with pytest.raises(KeyError, match='instances'):
        ImageBatches(images, [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')], 4)[0]
