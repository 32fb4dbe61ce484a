import pytest
import torch
from tiny_models import ARCH, crate

from projects.crate.models import CRATE


def test_positions_of_another_image_size_are_interpolated_on_loading():
    source, target = CRATE(arch=ARCH, img_size=16, patch_size=4), crate(img_size=(8, 24))
    with torch.no_grad():
        ramp = torch.arange(4.0).view(1, 4, 1).expand(4, 4, 24)  # grows from left to right
        source.pos_embed[0, 1:] = ramp.reshape(16, 24)
    target.load_state_dict(source.state_dict())
    assert torch.equal(target.pos_embed[:, 0], source.pos_embed[:, 0])
    grid = target.pos_embed[0, 1:, 0].reshape(2, 6)
    torch.testing.assert_close(grid[0], grid[1])
    assert (grid[0].diff() > 0).all()
    assert source.pos_embed.shape == (1, 17, 24)  # what was loaded from stays as it was


@pytest.mark.parametrize('img_size', [16, (8, 24)])
def test_positions_without_cls_token(img_size):
    source = CRATE(arch=ARCH, img_size=16, patch_size=4)
    target = crate(img_size=img_size, with_cls_token=False, out_type='featmap')
    missing, unexpected = target.load_state_dict(source.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ['cls_token'])
    twin = crate(img_size=img_size)
    twin.load_state_dict(source.state_dict())
    torch.testing.assert_close(target.pos_embed, twin.pos_embed[:, 1:])


def test_positions_without_cls_token_on_both_sides():
    options = dict(with_cls_token=False, out_type='featmap')
    source = CRATE(arch=ARCH, img_size=16, patch_size=4, **options)
    target = crate(img_size=(8, 24), **options)
    target.load_state_dict(source.state_dict())
    assert target.pos_embed.shape == (1, 12, 24)


def test_positions_of_an_unknown_grid_are_an_error():
    source = crate()  # 2 x 3
    with pytest.raises(ValueError, match='6 patch positions, which is not a square grid.*img_size'):
        crate(img_size=16).load_state_dict(dict(source.state_dict()))  # without what torch keeps beside the weights
    crate().load_state_dict(source.state_dict())


def test_a_model_with_cls_token_says_that_the_checkpoint_has_none():
    """Also where the rest of the table would be a square grid: 2 x 5 is not 1 and 3 x 3."""
    for img_size, number in ((16, 16), ((8, 20), 10)):
        source = CRATE(arch=ARCH, img_size=img_size, patch_size=4, with_cls_token=False, out_type='featmap')
        with pytest.raises(ValueError, match=rf'^pos_embed: .* {number} positions and no \[CLS\].*with_cls_token='):
            crate().load_state_dict(source.state_dict(), strict=False)


def test_loading_under_a_prefix():
    source = torch.nn.ModuleDict({'backbone': CRATE(arch=ARCH, img_size=16, patch_size=4)})
    target = torch.nn.ModuleDict({'backbone': crate()})
    target.load_state_dict(source.state_dict())
    assert target['backbone'].pos_embed.shape == (1, 7, 24)
