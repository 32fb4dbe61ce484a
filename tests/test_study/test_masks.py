import numpy as np
import pytest
from PIL import Image

from projects.crate.coco import coco_annotation
from projects.crate.errors import UserError
from projects.crate.pseudo_labels.merge import write_merged
from projects.crate.study.masks import COLOURS, draw_labels, mask_grid, painted


def grey(height, width):
    return np.full((height, width, 3), 100, dtype=np.uint8)


def test_masks_lie_where_they_are():
    """Upright and lying, with more images than fit a row; nothing but masks is coloured, and inputs stay."""
    sizes = [(4, 8), (8, 4), (8, 8)]
    images = [grey(*size) for size in sizes]
    masks = [np.zeros((2, *size), dtype=bool) for size in sizes]
    masks[0][0, 3, 5] = masks[1][1, 5, 3] = True
    masks[2] = masks[2][:0]
    grid = mask_grid(images, masks, columns=2, cell=8, gap=2, opacity=0.5)
    expected = np.full((20, 20, 3), 255, dtype=np.uint8)
    expected[0:4, 0:8] = expected[0:8, 10:14] = expected[10:18, 0:8] = 100
    expected[3, 5], expected[5, 13] = (50 + COLOURS[:2] / 2).astype(np.uint8)
    assert np.array_equal(grid, expected)
    assert all((image == 100).all() for image in images)


@pytest.mark.parametrize(('height', 'width', 'shape'), [(16, 8, (8, 4)), (2, 4, (4, 8)), (1, 99, (1, 8))])
def test_images_fill_their_cells(height, width, shape):
    grid = mask_grid([grey(height, width)], [np.ones((1, height, width), dtype=bool)], cell=8, gap=1, opacity=1)
    assert grid.shape == (9, 9, 3)
    assert (grid[: shape[0], : shape[1]] == COLOURS[0]).all()
    assert (grid[shape[0] :] == 255).all() and (grid[:, shape[1] :] == 255).all()


def test_colours_start_again():
    masks = np.eye(len(COLOURS) + 1, dtype=bool)[:, None, :]
    image = mask_grid([grey(1, masks.shape[2])], [masks], cell=masks.shape[2], gap=0, opacity=1)
    assert np.array_equal(image[0, -1], image[0, 0])
    assert len(np.unique(image[0], axis=0)) == len(COLOURS)


def labels(folder, shapes):
    """A finished file about grey images: the number of pixels in the mask of each, 0 for no mask."""
    images, annotations = [], []
    for number, pixels in enumerate(shapes, 1):
        Image.fromarray(grey(4, 6)).save(folder / f'{number}.png')
        images.append(dict(id=number, file_name=f'{number}.png', height=4, width=6))
        mask = np.arange(24).reshape(4, 6) < pixels
        annotations += [dict(coco_annotation(mask, 0), image_id=number, score=1.0)] * bool(pixels)
    with (folder / 'out.json').open('w') as file:
        write_merged(file, {}, images=images, annotations=annotations)
    return folder / 'out.json'


def test_pictures_of_images_with_and_without_masks(tmp_path):
    pixels = [0, 5, 0, 0, 9, 0]
    draw_labels(labels(tmp_path, pixels), tmp_path, tmp_path / 'drawn')
    for number, count in enumerate(pixels, 1):
        expected = painted(grey(4, 6), [np.arange(24).reshape(4, 6) < count])
        assert np.array_equal(np.asarray(Image.open(tmp_path / 'drawn' / f'{number}.png')), expected)


def test_a_picture_of_another_size_is_refused(tmp_path):
    out = labels(tmp_path, [3])
    Image.fromarray(grey(6, 4)).save(tmp_path / '1.png')
    with pytest.raises(UserError, match=r'1\.png: the image has 4 x 6 pixels, and .*out\.json has 6 x 4'):
        draw_labels(out, tmp_path, tmp_path / 'drawn')
