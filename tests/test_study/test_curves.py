import numpy as np

from projects.crate.study.curves import curve_figure
from projects.crate.study.sparse_rate import sparse_rate_figure


def bars(axis):
    """(lower, upper) ends of the error bars, by label."""
    return {
        container.get_label(): np.array([segment[:, 1] for segment in container.lines[2][0].get_segments()])
        for container in axis.containers
        if container.has_yerr
    }


def test_error_bars_where_an_error_is_given():
    figure = curve_figure({'a': ([0, 1, 2], [5, 3, 4], [0.5, 0, 1]), 'b': ([0, 1, 2], [1, 2, 3])}, 'layer', 'rate')
    (axis,) = figure.axes
    assert list(bars(axis)) == ['a']
    np.testing.assert_allclose(bars(axis)['a'], [[4.5, 5.5], [3, 3], [3, 5]])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ['a', 'b']


def test_sparse_rate_figure():
    measurement = dict(compression=[9.0, 7], compression_std=[1.0, 2], nonzero=[0.5, 0.25], nonzero_std=[0.1, 0.05])
    later = {key: [value / 2 for value in values] for key, values in measurement.items()}
    figure = sparse_rate_figure({'epoch 1': measurement, 'epoch 2': later})
    left, right = figure.axes
    np.testing.assert_allclose(bars(left)['epoch 1'], [[8, 10], [5, 9]])
    np.testing.assert_allclose(bars(right)['epoch 2'], [[0.2, 0.3], [0.1, 0.15]])
    assert 'coding rate' in left.get_ylabel() and 'non-zeros' in right.get_ylabel()
    assert [container[0].get_xdata().tolist() for container in left.containers] == [[0, 1], [0, 1]]
