"""LoadLabelMap: what mmseg reads where it reads rightly, and a line that names the file where it would not."""

import os
from io import BytesIO

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image
from test_loading import png

import projects.crate  # noqa: F401  (registers)
from projects.crate.datasets.label_maps import read_label_map
from projects.crate.errors import UserError

SIZE = (24, 36)  # h, w
LABELS = np.random.default_rng(0).choice([0, 1, 2, 255], SIZE).astype(np.uint8)


def palette(labels=LABELS):
    image = Image.fromarray(labels)
    image.putpalette(np.random.default_rng(1).integers(0, 255, 768, dtype=np.uint8).tobytes())
    return image


def saved(image, kind='PNG', **options):
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def results(folder, data, orientation=1, **changes):
    """What mmseg's data sets and the loading of the image give to the next transform."""
    (folder / 'mask.png').write_bytes(data)
    photo = Image.fromarray(np.zeros((*SIZE, 3), np.uint8))
    photo.save(folder / 'photo.jpg', exif=turned(orientation))
    loaded = TRANSFORMS.build(dict(type='LoadImageOrSkip', skip=False))(dict(img_path=str(folder / 'photo.jpg')))
    return dict(
        loaded,
        seg_map_path=str(folder / 'mask.png'),
        **{**dict(seg_fields=[], reduce_zero_label=False, label_map=None), **changes},
    )


def load(kind, sample, **options):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return TRANSFORMS.build(dict(type=kind, **options))(dict(sample, seg_fields=[]))


GOOD = dict(
    palette=saved(palette()),
    palette_4_bits=saved(palette(LABELS % 4), bits=4),
    grey=saved(Image.fromarray(LABELS)),
    transparent=saved(palette(), transparency=0),
    one_bit=saved(Image.fromarray(LABELS == 1)),
    sixteen_bits=cv2.imencode('.png', LABELS.astype(np.uint16))[1].tobytes(),
    tiff=saved(Image.fromarray(LABELS), 'TIFF'),
)


@pytest.mark.parametrize('name', GOOD)
@pytest.mark.parametrize('zero', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 1, 1: 255, 2: 0}, {0: 0, 1: -1, 2: 1}])
def test_reads_what_mmseg_reads(tmp_path, name, zero, label_map):
    pytest.importorskip('mmseg')
    sample = results(tmp_path, GOOD[name], reduce_zero_label=zero, label_map=label_map)
    if label_map and -1 in label_map.values():  # mmseg assigns -1 to uint8, which NumPy 2 refuses
        expected = load('LoadAnnotations', dict(sample, label_map={0: 0, 1: 255, 2: 1}))
    else:
        expected = load('LoadAnnotations', sample)
    ours = load('LoadLabelMap', sample)
    assert ours.keys() == expected.keys() and ours['seg_fields'] == expected['seg_fields']
    np.testing.assert_array_equal(ours['gt_seg_map'], expected['gt_seg_map'])
    assert ours['gt_seg_map'].dtype == expected['gt_seg_map'].dtype == np.uint8


grey = Image.fromarray(LABELS)
BAD = dict(
    rgb=(saved(palette().convert('RGB')), r'has 3 channels \(RGB\)'),
    rgba=(saved(palette().convert('RGBA')), r'has 4 channels \(RGBA\)'),
    grey_alpha=(saved(grey.convert('LA')), r'has 2 channels \(LA\)'),
    cmyk=(saved(palette().convert('CMYK'), 'TIFF'), r'has 4 channels \(CMYK\)'),
    sixteen_bit_labels=(cv2.imencode('.png', LABELS.astype(np.uint16) * 256)[1].tobytes(), 'from 0 to 65280'),
    floats=(saved(Image.fromarray(LABELS.astype(np.float32)), 'TIFF'), 'labels are integers'),
    grey_2_bits=(png(36, 24, 2, 0, bytes(24 * 10)), 'grey of 2 or 4 bits'),
    grey_4_bits=(png(36, 24, 4, 0, bytes(24 * 19)), 'grey of 2 or 4 bits'),
    jpeg=(saved(grey, 'JPEG'), 'JPEG changes labels'),
    exif=(saved(grey, exif=turned(6)), 'has an EXIF orientation'),
    truncated=(saved(palette())[:-200], 'cannot be read'),
    text=(b'no image', 'cannot be read'),
    empty=(b'', 'cannot be read'),
    huge=(png(16000, 16000, 8, 0), '256,?000,?000'),
    across=(saved(palette(np.rot90(LABELS))), 'the image has 36 x 24 pixels, .* 24 x 36: they do not belong'),
    smaller=(saved(palette(LABELS[::2, ::2])), '18 x 12: they do not belong together'),
    a_row=(saved(palette(LABELS[:1])), '36 x 1: they do not belong together'),
)


@pytest.mark.parametrize('name', BAD)
def test_refuses_what_is_no_label_map(tmp_path, name):
    data, message = BAD[name]
    with pytest.raises(UserError, match=message) as caught:
        load('LoadLabelMap', results(tmp_path, data))
    assert str(caught.value).count(str(tmp_path / 'mask.png')) == 1 and '\n' not in str(caught.value)
    with pytest.raises(UserError, match=message):
        read_label_map(str(tmp_path / 'mask.png'), str(tmp_path / 'photo.jpg'))


@pytest.mark.parametrize('orientation', [5, 6, 7, 8])
def test_the_map_of_a_photo_that_exif_turns(tmp_path, orientation):
    with pytest.raises(UserError, match=rf'before the EXIF orientation of the photo \({orientation}\)'):
        load('LoadLabelMap', results(tmp_path, saved(palette()), orientation))
    with pytest.raises(UserError, match='EXIF'):
        read_label_map(str(tmp_path / 'mask.png'), str(tmp_path / 'photo.jpg'))
    upright = np.ascontiguousarray(np.rot90(LABELS))
    loaded = load('LoadLabelMap', results(tmp_path, saved(palette(upright)), orientation))
    np.testing.assert_array_equal(loaded['gt_seg_map'], upright)
    np.testing.assert_array_equal(read_label_map(str(tmp_path / 'mask.png'), str(tmp_path / 'photo.jpg')), upright)


@pytest.mark.parametrize(('orientation', 'is_told'), [(1, False), (2, True), (3, True), (4, True), (6, False)])
def test_a_photo_that_exif_turns_within_its_size(tmp_path, capsys, orientation, is_told):
    """The sizes cannot tell whether the map belongs to the stored pixels or to the turned ones."""
    labels = np.ascontiguousarray(np.rot90(LABELS)) if orientation > 4 else LABELS
    load('LoadLabelMap', results(tmp_path, saved(palette(labels)), orientation))
    told = f'photo.jpg: the EXIF orientation of the photo ({orientation}) turns its pixels and keeps its size'
    assert (told in capsys.readouterr().out) == is_told


def test_labels_that_are_no_classes(tmp_path):
    labels = LABELS.copy()
    sample = results(tmp_path, saved(palette(labels)))
    assert load('LoadLabelMap', sample, num_classes=3)['gt_seg_map'].max() == 255
    with pytest.raises(UserError, match=r'mask\.png: label 2 is no class of the data set \(0 to 1, and 255'):
        load('LoadLabelMap', sample, num_classes=2)
    with pytest.raises(UserError, match='label 255 is no class'):
        load('LoadLabelMap', sample, num_classes=3, ignore_index=2)
    reduced = load('LoadLabelMap', dict(sample, reduce_zero_label=True), num_classes=2)['gt_seg_map']
    assert {*np.unique(reduced)} == {0, 1, 255}


def test_a_label_map_that_is_missing(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / 'photo.jpg')
    with pytest.raises(UserError, match=r'not found: .*nothing\.png'):
        read_label_map(str(tmp_path / 'nothing.png'), str(tmp_path / 'photo.jpg'))


def test_a_pipe_keeps_nobody_waiting(tmp_path):
    Image.fromarray(LABELS).save(tmp_path / 'photo.png')
    os.mkfifo(tmp_path / 'pipe.png')
    for mask, photo, message in (('pipe', 'photo', 'not a regular file'), ('photo', 'pipe', 'cannot be read')):
        with pytest.raises(UserError, match=rf'pipe\.png: {message}'):
            read_label_map(str(tmp_path / f'{mask}.png'), str(tmp_path / f'{photo}.png'))
