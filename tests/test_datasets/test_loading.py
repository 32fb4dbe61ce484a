import json
from io import BytesIO

import numpy as np
import pytest
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from PIL import Image

from projects.crate.datasets.loading import find_damage

SIZE = (24, 36)  # h, w


def encode(kind, size=SIZE, **options):
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def with_thumbnail():
    """A JPEG whose header embeds another, whole one: its end marker is not the end of the picture."""
    thumbnail = b'Exif\0\0' + encode('JPEG', (8, 12))
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    return b'\xff\xd8' + segment + encode('JPEG')[2:]


FILES = dict(
    jpeg=encode('JPEG'),
    progressive=encode('JPEG', progressive=True),
    thumbnail=with_thumbnail(),
    restart=encode('JPEG', restart_marker_blocks=1),
    png=encode('PNG'),
    webp=encode('WEBP'),
)


@pytest.mark.parametrize('name', FILES)
def test_every_truncation_is_found(name):
    data = FILES[name]
    assert find_damage(data) is None
    # other readers ignore what follows the end, such as the film behind a moving photograph
    assert find_damage(data + b'\xff\xda\xff\xc0 film \xff') is None
    assert [end for end in range(12, len(data)) if find_damage(data[:end]) is None] == []


def test_other_formats_are_left_to_the_decoder():
    assert find_damage(encode('BMP')) is None
    assert find_damage(b'') == 'the file is empty'


def broken_files(folder):
    jpeg = FILES['jpeg']
    broken = dict(
        truncated=jpeg[: len(jpeg) * 2 // 3], empty=b'', text=b'this is no image', header=jpeg[:300] + jpeg[-2:]
    )
    for name, data in broken.items():
        (folder / f'{name}.jpg').write_bytes(data)
    return {name: str(folder / f'{name}.jpg') for name in (*broken, 'missing')}


@pytest.mark.parametrize('name', ['truncated', 'empty', 'text', 'header', 'missing'])
def test_damage_is_reported_with_the_path(tmp_path, capsys, name):
    path = broken_files(tmp_path)[name]
    assert TRANSFORMS.build(dict(type='LoadImageOrSkip'))(dict(img_path=path)) is None
    lines = [line for line in capsys.readouterr().out.splitlines() if path in line]
    assert len(lines) == 1
    with pytest.raises(OSError, match=f'damaged image {path}'):
        TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False))(dict(img_path=path))


def test_a_good_image_is_what_mmcv_loads(tmp_path):
    (tmp_path / 'good.jpg').write_bytes(FILES['jpeg'])
    for options in (dict(), dict(to_float32=True), dict(imdecode_backend='pillow', color_type='grayscale')):
        ours, theirs = (
            TRANSFORMS.build(dict(type=kind, **options))(dict(img_path=str(tmp_path / 'good.jpg')))
            for kind in ('LoadImageOrSkip', 'mmcv.LoadImageFromFile')
        )
        assert ours.keys() == theirs.keys()
        assert ours['img_shape'] == ours['ori_shape'] == theirs['img_shape'] == SIZE
        np.testing.assert_array_equal(ours['img'], theirs['img'])
        assert ours['img'].dtype == theirs['img'].dtype


def dataset(scope, folder, test_mode=False):
    """Two images, of which the second is truncated."""
    (folder / 'images').mkdir()
    (folder / 'images' / '0.jpg').write_bytes(FILES['jpeg'])
    (folder / 'images' / '1.jpg').write_bytes(FILES['jpeg'][:-200])
    common = dict(
        data_root=str(folder), pipeline=[dict(type='LoadImageOrSkip', skip=not test_mode)], test_mode=test_mode
    )
    if scope == 'mmpretrain':
        (folder / 'list.txt').write_text('0.jpg 0\n1.jpg 1\n')
        return dict(type='CustomDataset', ann_file='list.txt', data_prefix='images', **common)
    if scope == 'mmseg':
        return dict(type='BaseSegDataset', data_prefix=dict(img_path='images'), metainfo=dict(classes=('a',)), **common)
    images = [dict(id=i, file_name=f'{i}.jpg', height=SIZE[0], width=SIZE[1]) for i in range(2)]
    box = dict(category_id=1, bbox=[2, 2, 9, 9], area=81, iscrowd=0)
    annotations = [dict(box, id=i, image_id=i) for i in range(2)]
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
    (folder / 'boxes.json').write_text(json.dumps(content))
    return dict(type='CocoDataset', ann_file='boxes.json', data_prefix=dict(img='images'), **common)


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmdet', 'mmseg'])
@pytest.mark.parametrize('test_mode', [False, True])
def test_data_sets_of_all_libraries(tmp_path, scope, test_mode):
    """Training takes the other image; testing stops and names the file."""
    with DefaultScope.overwrite_default_scope(scope):
        data = DATASETS.build(dataset(scope, tmp_path, test_mode))
        if test_mode:
            with pytest.raises(OSError, match=r'damaged image .*images/1\.jpg'):
                data[1]
        else:
            assert data[1]['img_path'].endswith('images/0.jpg')
