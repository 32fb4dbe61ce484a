import numpy as np
import pytest
import toy_observer as toy

from projects.crate.study.noise import add_noise, noise_grid
from projects.crate.study.observer import Observer

GREY = np.full((60, 80, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize('share', [0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize('std', [10, 25])
def test_noise_has_its_strength_and_its_share(std, share):
    difference = add_noise(GREY, std, share).astype(float) - GREY
    touched = difference.any(-1)
    # rounding leaves a few pixels as they were
    assert 0.99 * share * 4800 < touched.sum() <= round(share * 4800)
    noise = difference[touched]
    assert noise.std() == pytest.approx(std, rel=0.05)
    assert abs(noise.mean()) < std / 10
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.2  # channels by themselves


def test_more_noise_is_more_of_the_same():
    images = {(std, share): add_noise(GREY, std, share) for std in (5, 20) for share in (0.2, 0.6)}
    little, much = images[20, 0.2], images[20, 0.6]
    touched = (little != GREY).any(-1)
    assert np.array_equal(little[touched], much[touched])
    weak, strong = (images[std, 0.6].astype(float) - GREY for std in (5, 20))
    assert np.abs(strong - 4 * weak).max() <= 0.5 + 4 * 0.5


def test_noise_is_seeded_and_clipped():
    black = np.zeros((30, 40, 3), np.uint8)
    assert np.array_equal(add_noise(GREY, 50, 0.5, seed=3), add_noise(GREY, 50, 0.5, seed=3))
    assert not np.array_equal(add_noise(GREY, 50, 0.5, seed=3), add_noise(GREY, 50, 0.5, seed=4))
    noisy = add_noise(black, 75, 1)
    assert noisy.dtype == np.uint8 and 0.4 < (noisy == 0).mean() < 0.6
    assert add_noise(~black, 75, 1).max() == 255
    assert np.array_equal(add_noise(GREY, 50, 0), GREY) and np.array_equal(add_noise(GREY, 0, 1), GREY)


@pytest.mark.parametrize(('std', 'share'), [(-1, 0.5), (10, 1.5), (10, -0.1)])
def test_impossible_noise_is_refused(std, share):
    with pytest.raises(ValueError, match=f'not std {std} and share {share}'):
        add_noise(GREY, std, share)


def test_grid_of_strengths_and_shares():
    observer, image = Observer(toy.backbone()), toy.picture()
    noisy, maps = noise_grid(observer, image, layer=1, stds=[10, 50], shares=[0.1, 0.5, 0.75], seed=2)
    assert noisy.shape == (2, 3, 18, 25, 3) and maps.shape == (2, 3, 3, 5, 7)
    for i, std in enumerate((10, 50)):
        for j, share in enumerate((0.1, 0.5, 0.75)):
            np.testing.assert_array_equal(noisy[i, j], add_noise(image, std, share, seed=2))
            np.testing.assert_array_equal(maps[i, j], observer.attention(noisy[i, j], [1])[1])
