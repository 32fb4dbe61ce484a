import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from projects.crate.models.patch_embed import (
    ConvPatchEmbed,
    LinearPatchEmbed,
    pad_to_patches,
    resize_positions,
    square_grid,
)


@given(h=st.integers(1, 3), w=st.integers(1, 4), patch_h=st.integers(1, 4), patch_w=st.integers(1, 3))
def test_linear_patch_embedding_by_loops(h, w, patch_h, patch_w):
    torch.manual_seed(0)
    embed = LinearPatchEmbed(3, 8, (patch_h, patch_w), norm_eps=1e-5)
    for parameter in embed.parameters():
        torch.nn.init.normal_(parameter)
    images = torch.randn(2, 3, h * patch_h, w * patch_w)
    tokens, grid = embed(images)
    assert grid == (h, w)
    assert tokens.shape == (2, h * w, 8)
    for row in range(h):
        for column in range(w):
            top, left = row * patch_h, column * patch_w
            # row, column, channel: the order of the released code
            pixels = [images[:, :, top + y, left + x] for y in range(patch_h) for x in range(patch_w)]
            flat = torch.stack(pixels, dim=1).flatten(1)
            expected = embed.ln2(embed.projection(embed.ln1(flat)))
            torch.testing.assert_close(tokens[:, row * w + column], expected, atol=1e-5, rtol=1e-5)


def test_norm_eps_reaches_both_norms():
    embed = LinearPatchEmbed(3, 8, (2, 2), norm_eps=1e-3)
    assert (embed.ln1.eps, embed.ln2.eps) == (1e-3, 1e-3)


def test_conv_patch_embedding_is_a_linear_map_of_each_patch():
    embed = ConvPatchEmbed(3, 8, (4, 2))
    images = torch.randn(2, 3, 12, 4)
    tokens, grid = embed(images)
    assert grid == (3, 2)
    columns = F.unfold(images, (4, 2), stride=(4, 2))  # (B, C ph pw, h w)
    expected = (embed.projection.weight.flatten(1) @ columns).mT + embed.projection.bias
    torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('kind', [lambda: LinearPatchEmbed(3, 8, (4, 3), 1e-5), lambda: ConvPatchEmbed(3, 8, (4, 3))])
def test_images_that_patches_do_not_divide_are_padded(kind):
    embed, images = kind(), torch.randn(2, 3, 9, 7)
    tokens, grid = embed(images)
    assert grid == (3, 3)
    padded = torch.zeros(2, 3, 12, 9)
    padded[:, :, :9, :7] = images
    torch.testing.assert_close(tokens, embed(padded)[0])
    assert torch.equal(pad_to_patches(images, (4, 3)), padded)
    assert pad_to_patches(padded, (4, 3)) is padded


def test_positions_keep_extra_rows_and_interpolate_height_and_width():
    table = torch.randn(1, 2 + 3 * 4, 8)
    assert resize_positions(table, (3, 4), (3, 4), 2) is table
    resized = resize_positions(table, (3, 4), (6, 5), 2)
    assert resized.shape == (1, 2 + 6 * 5, 8)
    assert torch.equal(resized[:, :2], table[:, :2])
    for channel in range(8):
        plane = table[0, 2:, channel].reshape(1, 1, 3, 4)
        expected = F.interpolate(plane, size=(6, 5), mode='bicubic', align_corners=False).flatten()
        torch.testing.assert_close(resized[0, 2:, channel], expected)


def test_positions_in_half_precision_stay_in_it():
    assert resize_positions(torch.ones(1, 5, 8, dtype=torch.bfloat16), (2, 2), (3, 3), 1).dtype == torch.bfloat16


@given(side=st.integers(1, 300))
def test_square_grid(side):
    assert square_grid(side * side) == (side, side)
    with pytest.raises(ValueError, match=f'has {side * side + 1} patch positions'):
        square_grid(side * side + 1)
