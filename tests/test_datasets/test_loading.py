import json
import os
import struct
import zlib
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from PIL import Image, ImageFile

from projects.crate.datasets import loading
from projects.crate.datasets.loading import find_damage, libjpeg_warnings
from projects.crate.errors import UserError

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
    os.mkfifo(folder / 'pipe.jpg')
    return {name: str(folder / f'{name}.jpg') for name in (*broken, 'pipe', 'missing')}


@pytest.mark.parametrize('name', ['truncated', 'empty', 'text', 'header', 'pipe', 'missing'])
def test_damage_is_reported_with_the_path(tmp_path, capsys, name):
    path = broken_files(tmp_path)[name]
    assert TRANSFORMS.build(dict(type='LoadImageOrSkip'))(dict(img_path=path)) is None
    lines = [line for line in capsys.readouterr().out.splitlines() if path in line]
    assert len(lines) == 1
    with pytest.raises(OSError, match=f'damaged image {path}'):
        TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False))(dict(img_path=path))


@pytest.mark.parametrize('name', ['a\0b.png', 'a\ud800.png'])
def test_names_that_no_file_can_have(tmp_path, name):
    """An annotation file may hold them."""
    with pytest.raises(OSError, match='no file can have this name'):
        TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False))(dict(img_path=f'{tmp_path}/{name}'))


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


def png(width, height, depth=8, colour=2, rows=b''):
    """A PNG by hand; without ``rows`` it has a header and no pixels."""

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_huge_images_are_refused_by_their_header(tmp_path, monkeypatch, backend):
    path = tmp_path / 'huge.png'
    path.write_bytes(png(16000, 16000))
    load = TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False, imdecode_backend=backend))
    with pytest.raises(UserError, match=r'too large image .*huge.png: 16000 x 16000 .* CRATE_MAX_PIXELS=256000000'):
        load(dict(img_path=str(path)))
    path.write_bytes(FILES['png'])
    image = load(dict(img_path=str(path)))['img']
    monkeypatch.setenv('CRATE_MAX_PIXELS', str(SIZE[0] * SIZE[1]))
    np.testing.assert_array_equal(load(dict(img_path=str(path)))['img'], image)
    monkeypatch.setenv('CRATE_MAX_PIXELS', str(SIZE[0] * SIZE[1] - 1))
    with pytest.raises(OSError, match='36 x 24 pixels are more than 863'):
        load(dict(img_path=str(path)))
    wider = TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False, max_pixels=10**6))
    np.testing.assert_array_equal(wider(dict(img_path=str(path)))['img'], image)
    monkeypatch.setenv('CRATE_MAX_PIXELS', 'many')
    with pytest.raises(UserError, match='CRATE_MAX_PIXELS=many: must be a number'):
        load(dict(img_path=str(path)))


def test_a_raised_limit_is_above_pillows_own(tmp_path, monkeypatch):
    """Pillow raises at twice its own limit, whatever ours is."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    path = tmp_path / 'good.png'
    path.write_bytes(FILES['png'])
    for backend in ('cv2', 'pillow'):
        load = TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False, strict=True, imdecode_backend=backend))
        assert load(dict(img_path=str(path)))['img_shape'] == SIZE
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_damaged_image_with_a_name_that_is_not_utf_8_is_in_the_log(tmp_path, capfd):
    path = os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9.jpg')
    with open(path, 'wb') as file:  # noqa: PTH123
        file.write(FILES['jpeg'][:-200])
    logger = MMLogger('damaged', log_file=str(tmp_path / 'run.log'))
    with mock_current(logger):
        assert TRANSFORMS.build(dict(type='LoadImageOrSkip'))(dict(img_path=path)) is None
        missing = os.fsdecode(os.fsencode(tmp_path) + b'/\xff.jpg')
        assert TRANSFORMS.build(dict(type='LoadImageOrSkip'))(dict(img_path=missing)) is None
    log = (tmp_path / 'run.log').read_text()
    assert r'caf\xe9.jpg: truncated JPEG' in log and r'\xff.jpg: No such file' in log
    assert 'Logging error' not in capfd.readouterr().err


@contextmanager
def mock_current(logger):
    """``logger`` as mmengine's current one."""
    instances = MMLogger._instance_dict
    before = dict(instances)
    instances.clear()
    instances[logger.instance_name] = logger
    try:
        yield
    finally:
        instances.clear()
        instances.update(before)


def photo():
    """Smooth, as photographs are: a JPEG of noise has too few codes to be invalid."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC)


def zeros_in_the_middle(kind):
    buffer = BytesIO()
    photo().save(buffer, kind)
    data = bytearray(buffer.getvalue())
    middle = len(data) // 2
    data[middle : middle + 512] = bytes(512)
    return bytes(data)


def test_strict_finds_damage_in_the_middle(tmp_path, capfd):
    """JPEG decodes anyway; libjpeg says so on the standard error, and nowhere else."""
    path = tmp_path / 'a.jpg'
    path.write_bytes(zeros_in_the_middle('JPEG'))
    lenient = TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False))
    assert lenient(dict(img_path=str(path)))['img'].shape == (240, 320, 3)
    assert 'Corrupt JPEG data' in capfd.readouterr().err
    strict = TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False, strict=True))
    with pytest.raises(OSError, match='damaged image .*a.jpg: Corrupt JPEG data'):
        strict(dict(img_path=str(path)))
    assert capfd.readouterr().err == ''
    for name, data in FILES.items():
        path.write_bytes(data)
        np.testing.assert_array_equal(
            strict(dict(img_path=str(path)))['img'], lenient(dict(img_path=str(path)))['img'], name
        )
    with libjpeg_warnings(True) as warnings:
        os.write(2, b'somebody else\n')
    assert warnings == [] and capfd.readouterr().err == 'somebody else\n'


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('strict', [False, True])
def test_a_png_with_a_wrong_checksum_is_damaged(tmp_path, backend, strict):
    """Pillow raises SyntaxError for some."""
    data = bytearray(FILES['png'])
    data[30] ^= 1  # in the checksum of the header
    (tmp_path / 'a.png').write_bytes(data)
    load = TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False, imdecode_backend=backend, strict=strict))
    with pytest.raises(OSError, match='damaged image'):
        load(dict(img_path=str(tmp_path / 'a.png')))


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_a_size_that_the_annotations_do_not_have(tmp_path, capsys, orientation):
    """Boxes of the stored pixels do not lie on the photo as it is loaded."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / 'a.jpg'
    path.write_bytes(encode('JPEG', exif=exif))
    height, width = SIZE
    results = dict(img_path=str(path), height=height, width=width)
    load = TRANSFORMS.build(dict(type='LoadImageOrSkip'))
    if orientation < 5:
        assert load(dict(results))['img_shape'] == SIZE
        told = 'a.jpg: the EXIF orientation of the photo (3) turns its pixels and keeps its size'
        assert capsys.readouterr().out.count(told) == (orientation == 3)
        load(dict(results))  # the second photo of this kind
        assert told not in capsys.readouterr().out
    else:
        with pytest.raises(UserError, match=r'24 x 36 pixels, and the annotation file has 36 x 24, the size of .*EXIF'):
            load(dict(results))
        stored = TRANSFORMS.build(dict(type='LoadImageOrSkip', color_type='color_ignore_orientation'))
        assert stored(dict(results))['img_shape'] == SIZE
    with pytest.raises(UserError, match='do not belong together'):
        load(dict(results, width=width + 1))


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'webp'])
def test_orientation_of_any_format(tmp_path, monkeypatch, suffix):
    """A PNG without EXIF is upright; its pixels are not decoded to find that out."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new('RGB', (6, 4))
    image.save(tmp_path / f'turned.{suffix}', exif=exif)
    image.save(tmp_path / f'plain.{suffix}')
    assert loading.read_orientation(str(tmp_path / f'turned.{suffix}')) == 6
    monkeypatch.setattr(ImageFile.ImageFile, 'load', None)
    assert loading.read_orientation(str(tmp_path / f'plain.{suffix}')) == 1
