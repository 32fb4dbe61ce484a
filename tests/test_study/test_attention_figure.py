import numpy as np
import pytest

from projects.crate.study.attention import attention_figure, to_pixels

IMAGES = [np.zeros((8, 16, 3), np.uint8), np.zeros((10, 15, 3), np.uint8)]


def test_a_cell_for_every_head():
    maps = {'before': [np.ones((3, 2, 4))] * 2, 'after': [np.eye(2, 4)[None].repeat(3, 0)] * 2}
    outline = np.zeros((8, 16), bool)
    outline[2:5, 3:9] = True
    figure = attention_figure(IMAGES[:1] * 2, maps, [outline] * 2)
    *cells, scale = figure.axes
    assert len(cells) == 2 * (1 + 3 + 3)
    after = cells[4].images[0]
    assert after.get_array().shape == (2, 4) and after.get_extent() == [-0.5, 15.5, 7.5, -0.5]
    assert [cell.get_title() for cell in cells[:5]] == [
        'image',
        'before\nhead 0',
        'before\nhead 1',
        'before\nhead 2',
        'after\nhead 0',
    ]
    assert [label.get_text() for label in scale.get_yticklabels()] == ['0', "each map's\nmaximum"]
    assert [bool(cell.collections) for cell in cells[:7]] == [False] + 6 * [True]


def test_tokens_lie_where_their_patches_are():
    """10 x 15 pixels in patches of 4 x 6 are 3 x 3 tokens, of which the last row is cut."""
    maps = np.arange(18.0).reshape(2, 3, 3)
    masks = np.zeros((2, 3, 3), bool)
    masks[1, 1, 1] = True
    figure = attention_figure(
        IMAGES[1:], {'': [maps]}, masks={'': [masks]}, names=['x' * 40], title='what', patch_size=(4, 6)
    )
    image, first, second, _ = figure.axes
    assert [axis.get_title() for axis in (image, first, second)] == ['image', 'head 0', 'head 1']
    for axis, head in zip((first, second), maps):
        shown = axis.images[0]
        assert shown.get_extent() == [-0.5, 17.5, 11.5, -0.5] and shown.get_clim() == (0, head.max())
        assert axis.get_xlim() == (-0.5, 14.5) and axis.get_ylim() == (9.5, -0.5)
    assert not first.collections
    line = second.collections[0].get_paths()[0].vertices
    assert (line.min(0).tolist(), line.max(0).tolist()) == ([5.5, 3.5], [11.5, 7.5])
    assert image.get_ylabel() == 'x' * 21 + '…' and figure.get_suptitle() == 'what'


def test_tokens_by_pixel():
    tokens = np.arange(6).reshape(2, 3)
    assert to_pixels(tokens, (3, 6), None).tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]]
    assert to_pixels(tokens, (3, 5), (2, 2)).tolist() == [[0, 0, 1, 1, 2]] * 2 + [[3, 3, 4, 4, 5]]


def test_rows_are_as_high_as_their_images():
    figure = attention_figure(IMAGES, {'': [np.ones((1, 2, 4)), np.ones((1, 2, 3))]})
    figure.draw_without_rendering()
    boxes = [axis.get_position() for axis in figure.axes[:4]]
    width, height = figure.get_size_inches()
    for box, image in zip(boxes, [IMAGES[0], IMAGES[0], IMAGES[1], IMAGES[1]]):
        np.testing.assert_allclose(box.height * height / (box.width * width), image.shape[0] / image.shape[1], 1e-3)
    np.testing.assert_allclose(boxes[0].width, boxes[2].width, rtol=1e-2)


@pytest.mark.parametrize('size', [(1, 1), (1, 6)])
def test_images_without_room_for_an_outline(size):
    image = np.zeros((*size, 3), np.uint8)
    attention_figure([image], {'': [np.ones((2, 1, 1))]}, [np.ones(size, bool)])
