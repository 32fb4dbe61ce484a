import threading

import numpy as np
import pytest
import torch
import toy_observer as toy
from pycocotools import mask as coco_mask

from projects.crate.errors import UserError
from projects.crate.maskcut import maskcut
from projects.crate.models import observe
from projects.crate.study import explore
from projects.crate.study.explore import SharedObserver, coco_masks, look
from projects.crate.study.observer import Observer
from projects.crate.study.pca import first_components

IMAGE = toy.picture(18, 25)  # 5 x 7 patches of 4, the last ones cut


@pytest.fixture(params=['CRATE', 'ViT'])
def observer(request):
    return Observer(toy.backbone(request.param), toy.PREPROCESSOR)


def test_view_is_what_the_parts_of_the_project_return(observer):
    view = look(observer, IMAGE, layer=0, facet='value', tau=0.3, num_masks=2)
    assert np.array_equal(view.attention, observer.attention(IMAGE, [0])[0])
    features = observer.features(IMAGE, [0], 'value')[0]
    component, colours = first_components([features])
    assert np.array_equal(view.component, component[0]) and np.array_equal(view.colours, colours[0])
    masks, vectors = maskcut(torch.from_numpy(features).flatten(0, 1).T, (5, 7), 0.3, 2)
    assert np.array_equal(view.masks, masks) and np.array_equal(view.eigenvectors, vectors)


@pytest.mark.parametrize(
    ('place', 'row', 'column'), [((0.0, 0.0), 0, 0), ((0.5, 0.9), 2, 5), ((1.0, 1.0), 4, 6), ((17 / 18, 0), 4, 0)]
)
def test_place_is_the_patch_that_attends(observer, place, row, column):
    view = look(observer, IMAGE, place=place)
    with observe(observer.backbone, [-1]) as seen:
        observer.observe([IMAGE], [-1])
    whole = seen[-1].attention()[0, :, 1 + 7 * row + column, 1:]
    expected = (whole / whole.sum(-1, keepdim=True)).detach().unflatten(-1, (5, 7)).numpy()
    assert view.place == (row, column)
    np.testing.assert_allclose(view.attention, expected, rtol=1e-5)


def test_pictures_have_the_pixels_of_the_image_and_frame_the_patch():
    view = look(Observer(toy.backbone()), IMAGE, place=(0.5, 0.9))
    heat = view.heat(view.attention[0])
    assert heat.shape == IMAGE.shape and heat.dtype == np.uint8
    assert (heat[4:8, 8:12] == heat[4, 8]).all()
    large = view.enlarge(heat, 100)
    assert large.shape == (72, 100, 3)
    framed = (large == explore.FRAME).all(-1)
    assert framed[32:48, 80:96].sum() == framed.sum() == 4 * 16 - 4


def test_a_map_without_differences_is_drawn():
    view = look(Observer(toy.backbone()), IMAGE)
    assert len(np.unique(view.heat(np.ones((5, 7))).reshape(-1, 3), axis=0)) == 1


def test_too_many_patches_are_refused(monkeypatch):
    monkeypatch.setattr(explore, 'MAX_TOKENS', 34)
    with pytest.raises(UserError, match='5 x 7 patches are more than 34: make the image smaller'):
        look(Observer(toy.backbone()), IMAGE)


def test_coco_file_has_the_masks_at_the_size_of_the_image():
    masks = look(Observer(toy.backbone()), IMAGE).masks_of((36, 50))
    content = coco_masks('a.png', masks)
    assert content['images'] == [dict(id=1, file_name='a.png', height=36, width=50)]
    assert [each['id'] for each in content['annotations']] == [*range(1, len(masks) + 1)]
    decoded = [coco_mask.decode(each['segmentation']) for each in content['annotations']]
    assert np.array_equal(np.array(decoded, dtype=bool).reshape(masks.shape), masks)


def test_threads_that_share_a_backbone_do_not_mix():
    """Hooks sit on the backbone: without the lock a thread would read what the image of another thread left."""
    shared = SharedObserver(Observer(toy.backbone(), toy.PREPROCESSOR))
    images = [toy.picture(16 + 4 * seed, 24, seed) for seed in range(4)]
    alone = [shared.look(image).attention for image in images]
    wrong = []

    def user(index):
        for _ in range(15):
            found = shared.look(images[index]).attention
            if not np.array_equal(found, alone[index]):
                wrong.append(index)

    threads = [threading.Thread(target=user, args=[index]) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
