from pathlib import Path

import numpy as np
import pytest
import torch
import toy_observer as toy

from projects.crate.evaluation import binarise
from projects.crate.study.attention import attention_of_heads, pages
from projects.crate.study.observer import Observer


@pytest.mark.parametrize(('rule', 'share'), [('mass', 0.6), ('top', 0.3)])
def test_maps_and_masks_of_images_of_any_size(rule, share):
    observer = Observer(toy.backbone())
    images = [(Path('a.png'), toy.picture(18, 25)), (Path('b.png'), toy.picture(16, 8))]
    found = list(attention_of_heads(observer, images, -2, rule, share))
    assert [item.path.name for item in found] == ['a.png', 'b.png']
    for item, (_, image), grid in zip(found, images, [(5, 7), (4, 2)]):
        assert item.image is image and item.maps.shape == (3, *grid)
        np.testing.assert_array_equal(item.maps, observer.attention(image, [1])[1])
        expected = binarise(torch.from_numpy(item.maps), rule, share)
        np.testing.assert_array_equal(item.masks, expected)


def test_an_unknown_rule_is_refused():
    images = [(Path('a.png'), toy.picture())]
    with pytest.raises(ValueError, match='rule must be one of mass, top'):
        next(attention_of_heads(Observer(toy.backbone()), images, rule='most'))


def test_pages_are_filled_one_after_the_other():
    taken = []
    items = (taken.append(number) or number for number in range(7))
    found = pages(items, 3)
    assert next(found) == [0, 1, 2] and taken == [0, 1, 2]
    assert list(found) == [[3, 4, 5], [6]]
    assert list(pages([], 3)) == []
