import numpy as np

from projects.crate.datasets.choice import spread_evenly


def test_images_are_spread_evenly():
    assert spread_evenly(4, None) == spread_evenly(4, 9) == [0, 1, 2, 3]
    assert spread_evenly(10, 5) == [0, 2, 4, 6, 8]
    for count in range(1, 30):
        found = spread_evenly(29, count)
        assert len({*found}) == count and max(np.diff([*found, 29])) - min(np.diff([*found, 29])) <= 1
