import numpy as np

from projects.crate.study.pca import foreground_figure, layers_figure

IMAGES = [np.full((8, 12, 3), 20 * number, np.uint8) for number in range(3)]
COLOURS = [np.full((2, 3, 3), number / 4) for number in range(3)]


def test_colours_lie_below_their_images():
    figure = foreground_figure(IMAGES, COLOURS, 'title', columns=2)
    shown = [[axis.images[0].get_array()[0, 0, 0] if axis.images else None for axis in figure.axes]]
    assert shown == [[0, 20, 0, 0.25, 40, None, 0.5, None]]
    assert figure.axes[2].images[0].get_extent() == [-0.5, 11.5, 7.5, -0.5]
    assert figure.get_suptitle() == 'title'


def test_a_row_has_room_for_its_tallest_image():
    figure = foreground_figure([IMAGES[0], np.zeros((24, 12, 3), np.uint8)], COLOURS[:2])
    width, height = figure.get_size_inches()
    assert height > width


def test_layers_stand_side_by_side():
    first = [[np.full((2, 3), layer / 10 + number / 100) for number in range(2)] for layer in range(3)]
    colours = [[np.full((2, 3, 3), layer / 20 + number / 100) for number in range(2)] for layer in range(3)]
    figure = layers_figure(IMAGES[:2], first, colours, [0, 4, 5], patch_size=(4, 5))
    axes = np.reshape(figure.axes, (4, 4))
    assert [axis.get_title() for axis in axes[0]] == ['', 'layer 0', 'layer 4', 'layer 5']
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ['component 1', 'components 2-4'] * 2
    for number in range(2):
        for layer in range(3):
            grey, colour = (axis.images[0] for axis in axes[2 * number : 2 * number + 2, layer + 1])
            np.testing.assert_array_equal(grey.get_array(), first[layer][number])
            np.testing.assert_array_equal(colour.get_array(), colours[layer][number])
            assert grey.get_clim() == (0, 1) and grey.get_extent() == [-0.5, 14.5, 7.5, -0.5]
