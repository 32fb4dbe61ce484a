"""The released models written once more, slowly, from the formulas of the papers: what the fast code is compared with.

Weights are dicts in the key names of the released files.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

DATA = Path(__file__).parent / 'data'


def released_shapes(dim, depth, patch, side, classes, alpha=False, hidden=None):
    """Key -> shape of a released file; ``hidden``: rows of mlp_head.1 where a second layer, ``head``, follows."""
    shapes = {'pos_embedding': (1, side * side + 1, dim), 'cls_token': (1, 1, dim)}

    def module(name, weight, bias=True):
        shapes[f'{name}.weight'] = weight
        if bias:
            shapes[f'{name}.bias'] = weight[:1]

    if alpha:
        module('conv1', (dim, 3, patch, patch))
    else:
        module('to_patch_embedding.1', (3 * patch * patch,))
        module('to_patch_embedding.2', (dim, 3 * patch * patch))
        module('to_patch_embedding.3', (dim,))
    for index in range(depth):
        layer = f'transformer.layers.{index}'
        module(f'{layer}.0.norm', (dim,))
        module(f'{layer}.0.fn.qkv', (dim, dim), bias=False)
        module(f'{layer}.0.fn.to_out.0', (dim, dim), bias=not alpha)
        module(f'{layer}.1.norm', (dim,))
        if alpha:
            shapes[f'{layer}.1.fn.D'] = shapes[f'{layer}.1.fn.D1'] = (dim, 4 * dim)
        else:
            module(f'{layer}.1.fn', (dim, dim), bias=False)
    module('mlp_head.0', (dim,))
    module('mlp_head.1', (hidden or classes, dim))
    if hidden:
        module('head', (classes, hidden))
    return shapes


def fill(key, shape):
    """The weights of the golden outputs: a fixed function of the key."""
    x = np.random.default_rng(zlib.crc32(f'dev:{key}'.encode())).standard_normal(shape).astype(np.float32)
    norms = ('norm.weight', 'to_patch_embedding.1.weight', 'to_patch_embedding.3.weight', 'mlp_head.0.weight')
    if key.endswith(norms):
        x = 1 + 0.1 * x
    elif key.endswith('bias'):
        x = 0.05 * x
    elif key in ('pos_embedding', 'cls_token'):
        x = 0.5 * x
    else:
        fan = shape[0] if key.endswith(('fn.D', 'fn.D1')) else np.prod(shape[1:])
        x = (x / np.sqrt(fan)).astype(np.float32)
    return torch.from_numpy(x)


def released_weights(**sizes):
    return {key: fill(key, shape) for key, shape in released_shapes(**sizes).items()}


def golden_weights(name):
    shapes = json.loads((DATA / 'crate_keys.json').read_text())[name]
    return {key: fill(key, shape) for key, shape in shapes.items()}


def golden_outputs():
    return dict(np.load(DATA / 'crate_golden.npz'))


def golden_images(seed, num=2):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((num, 3, 224, 224)).astype(np.float32))


def released_logits(weights, images, heads):
    """Logits (B, classes) of CRATE or CRATE-alpha (arXiv 2306.01129, 2405.20299), images (B, 3, H, W)."""
    alpha = 'conv1.weight' in weights
    eps = 1e-6 if alpha else 1e-5
    get = {key: value.double() for key, value in weights.items()}

    def norm(name, x):
        x = x - x.mean(-1, keepdim=True)
        scaled = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * get[f'{name}.weight'] + get[f'{name}.bias']

    z = _embed(get, images.double(), norm)
    for index in range(sum(key.endswith('qkv.weight') for key in get)):
        attention, feedforward = (f'transformer.layers.{index}.{part}' for part in (0, 1))
        z = z + mssa(
            norm(f'{attention}.norm', z),
            get[f'{attention}.fn.qkv.weight'],
            get[f'{attention}.fn.to_out.0.weight'],
            get.get(f'{attention}.fn.to_out.0.bias', 0),
            heads,
        )
        x = norm(f'{feedforward}.norm', z)
        if alpha:
            z = z + odl(x, get[f'{feedforward}.fn.D'], get[f'{feedforward}.fn.D1'])
        else:
            z = ista(x, get[f'{feedforward}.fn.weight'])
    return norm('mlp_head.0', z[:, 0]) @ get['mlp_head.1.weight'].T + get['mlp_head.1.bias']


def _embed(get, images, norm):
    batch, dim = len(images), get['cls_token'].shape[-1]
    if 'conv1.weight' in get:
        kernel = get['conv1.weight']
        tokens = F.conv2d(images, kernel, get['conv1.bias'], stride=kernel.shape[-1]).reshape(batch, dim, -1).mT
    else:
        side = int((get['to_patch_embedding.1.weight'].numel() / 3) ** 0.5)
        rows = images.split(side, dim=2)
        patches = [patch for row in rows for patch in row.split(side, dim=3)]
        tokens = torch.stack([patch.permute(0, 2, 3, 1).reshape(batch, -1) for patch in patches], dim=1)
        tokens = norm('to_patch_embedding.1', tokens)
        tokens = tokens @ get['to_patch_embedding.2.weight'].T + get['to_patch_embedding.2.bias']
        tokens = norm('to_patch_embedding.3', tokens)
    return torch.cat([get['cls_token'].expand(batch, 1, dim), tokens], dim=1) + get['pos_embedding']


def mssa(x, basis, out, bias, heads):
    """Per head: softmax(W W^T / sqrt(p)) W; x (B, N, d), basis = U^T (d, d)."""
    results = []
    for rows in basis.chunk(heads):
        w = x @ rows.T
        results.append((w @ w.mT / rows.shape[0] ** 0.5).softmax(-1) @ w)
    return torch.cat(results, dim=-1) @ out.T + bias


def ista(x, weight, eta=0.1, lambd=0.1):
    """The released code: three matrix products."""
    products = F.linear(F.linear(x, weight), weight.T), F.linear(x, weight.T)
    return F.relu(x + eta * (products[1] - products[0]) - eta * lambd)


def odl(x, D, D1, eta=0.1, lambd=0.1):  # noqa: N803
    """Two proximal steps from zero, token by token as columns."""
    x = x.mT
    code = F.relu(eta * D.T @ x - eta * lambd)
    code = F.relu(code - eta * D.T @ (D @ code - x) - eta * lambd)
    return (D1 @ code).mT


class DINOViT(nn.Module):
    """The ViT of DINO (arXiv 2104.14294), module names as in its code; ``num_classes`` adds timm's classifier."""

    def __init__(self, dim=24, depth=3, heads=3, patch=4, side=3, num_classes=0):
        super().__init__()

        def block():
            parts = dict(norm1=nn.LayerNorm(dim, eps=1e-6), norm2=nn.LayerNorm(dim, eps=1e-6))
            parts['attn'] = nn.ModuleDict(dict(qkv=nn.Linear(dim, 3 * dim), proj=nn.Linear(dim, dim)))
            parts['mlp'] = nn.ModuleDict(dict(fc1=nn.Linear(dim, 4 * dim), fc2=nn.Linear(4 * dim, dim)))
            return nn.ModuleDict(parts)

        self.heads = heads
        self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(3, dim, patch, stride=patch)))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.randn(1, side * side + 1, dim))
        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        for parameter in self.parameters():  # norms and biases, too
            nn.init.normal_(parameter, std=0.3)

    def forward(self, images):
        """What the head gives of [CLS]; keys (B, N, d) and attention of [CLS] (B, K, N) of every block."""
        x = self.patch_embed['proj'](images).flatten(2).mT
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        keys, maps = [], []
        for block in self.blocks:
            query, key, value = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in block['attn']['qkv'](block['norm1'](x)).chunk(3, dim=-1)
            )
            attention = (query @ key.mT / key.shape[-1] ** 0.5).softmax(-1)
            x = x + block['attn']['proj']((attention @ value).transpose(1, 2).flatten(2))
            x = x + block['mlp']['fc2'](F.gelu(block['mlp']['fc1'](block['norm2'](x))))
            keys.append(key.transpose(1, 2).flatten(2))
            maps.append(attention[:, :, 0])
        return self.head(self.norm(x)[:, 0]), keys, maps


class DINOv2ViT(nn.Module):
    """The ViT of DINOv2 (arXiv 2304.07193): LayerScale, registers without positions, its own interpolation."""

    def __init__(self, dim=24, depth=3, heads=3, patch=4, side=5, num_registers=0):
        super().__init__()
        vit = DINOViT(dim, depth, heads, patch, side)
        self.heads, self.patch_embed, self.norm = heads, vit.patch_embed, vit.norm
        self.cls_token, self.pos_embed, self.blocks = vit.cls_token, vit.pos_embed, vit.blocks
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        if num_registers:
            self.register_tokens = nn.Parameter(torch.randn(1, num_registers, dim))
        for block in self.blocks:
            for name in ('ls1', 'ls2'):
                block[name] = nn.ParameterDict(dict(gamma=torch.randn(dim)))

    def positions(self, height, width):
        """The table for an image; the released code hands the exact scale to torch, not the size."""
        side = round((self.pos_embed.shape[1] - 1) ** 0.5)
        if (height, width) == (side, side):
            return self.pos_embed
        table = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        if hasattr(self, 'register_tokens'):
            table = F.interpolate(table, size=(height, width), mode='bicubic', antialias=True)
        else:
            scale = ((height + 0.1) / side, (width + 0.1) / side)
            table = F.interpolate(table, scale_factor=scale, mode='bicubic', antialias=False)
        assert table.shape[-2:] == (height, width)
        return torch.cat([self.pos_embed[:, :1], table.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)

    def forward(self, images):
        """[CLS] and the patches after the last norm, (B, 1 + h w, d)."""
        x = self.patch_embed['proj'](images)
        positions = self.positions(*x.shape[-2:])
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x.flatten(2).mT], dim=1) + positions
        registers = getattr(self, 'register_tokens', x[:1, :0])
        x = torch.cat([x[:, :1], registers.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        for block in self.blocks:
            query, key, value = block['attn']['qkv'](block['norm1'](x)).unflatten(-1, (3, self.heads, -1)).unbind(2)
            scores = torch.einsum('bikp,bjkp->bkij', query, key) / key.shape[-1] ** 0.5
            mixed = torch.einsum('bkij,bjkp->bikp', scores.softmax(-1), value).flatten(2)
            x = x + block['ls1']['gamma'] * block['attn']['proj'](mixed)
            x = x + block['ls2']['gamma'] * block['mlp']['fc2'](F.gelu(block['mlp']['fc1'](block['norm2'](x))))
        x = self.norm(x)
        return torch.cat([x[:, :1], x[:, 1 + registers.shape[1] :]], dim=1)
