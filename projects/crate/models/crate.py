"""The CRATE backbone, with every ablation of the papers by configuration."""

import math
from collections.abc import Sequence

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, PretrainedInit
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..checkpoints import load_pretrained
from ..errors import ArgumentError
from ..registration import register_model
from .arguments import check_arguments
from .layers import ATTENTIONS, FEEDFORWARDS, DropPath
from .patch_embed import ConvPatchEmbed, LinearPatchEmbed, is_free, resize_positions, square_grid
from .unwrap import plain_name
from .windows import Windows

OUT_TYPES = ('cls_token', 'raw', 'featmap', 'avg_featmap')

# Parts of the released models of each paper
CRATE_FAMILY = dict(
    attn_cfg=dict(type='MSSA'), ffn_cfg=dict(type='ISTA'), patch_embed='linear', norm_eps=1e-5, init='crate'
)
ALPHA_FAMILY = dict(
    attn_cfg=dict(type='MSSA', proj_bias=False),
    ffn_cfg=dict(type='ODL'),
    patch_embed='conv',
    norm_eps=1e-6,
    init='alpha',
)
# name -> (d, K, L, family). One name means different widths in different papers; the prefix tells the paper.
ARCHS = {
    'tiny': (384, 6, 12, CRATE_FAMILY),  # arXiv 2306.01129, Table 3
    'small': (576, 12, 12, CRATE_FAMILY),
    'base': (768, 12, 12, CRATE_FAMILY),
    'large': (1024, 16, 24, CRATE_FAMILY),
    'emergence-tiny': (192, 3, 12, CRATE_FAMILY),  # arXiv 2308.16271, Appendix C
    'emergence-small': (384, 6, 12, CRATE_FAMILY),
    'emergence-base': (768, 12, 12, CRATE_FAMILY),
    'alpha-tiny': (192, 3, 12, ALPHA_FAMILY),  # arXiv 2405.20299, Table 1
    'alpha-small': (384, 6, 12, ALPHA_FAMILY),
    'alpha-base': (768, 12, 12, ALPHA_FAMILY),
    'alpha-large': (1024, 16, 24, ALPHA_FAMILY),
}


class CRATELayer(nn.Module):
    """One layer: compression by the attention, sparsification by the feed-forward part.

    Z' = Z + MSSA(LN(Z));  Z+ = ISTA(LN(Z'))      (released code of arXiv 2306.01129)

    With ``skip='normalised'``, Z' = LN(Z) + MSSA(LN(Z)), its Algorithm 1. Parts with a skip of their own (MLP, ODL)
    give Z+ = Z' + part(LN(Z')). Drop path acts on residual branches only: ISTA is not one.

    Args:
        attn: Attention of ``layers.py``, (B, N, d) -> (B, N, d).
        ffn: Feed-forward part with an attribute ``residual``.
        dim: Token width d.
        norm_eps: epsilon of the norms.
        skip: 'raw' or 'normalised'.
        drop_path_rate: Probability of dropping a residual branch in training.
    """

    def __init__(
        self, attn: nn.Module, ffn: nn.Module, dim: int, norm_eps: float, skip: str, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.normalised_skip = skip == 'normalised'
        self.ln1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = attn
        self.ln2 = nn.LayerNorm(dim, eps=norm_eps)
        self.ffn = ffn
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, z: Tensor, windows: Windows | None = None, rows: slice | None = None) -> Tensor:
        """Apply the layer to tokens (B, N, d); return (B, N, d), or (B, rows, d) for ``rows``, which attend to all."""
        x = self.ln1(z)
        if rows is not None:
            attended, x, z = self.attn(x, rows=rows), x[:, rows], z[:, rows]
        else:
            attended = self.attn(x, windows) if windows else self.attn(x)
        z = (x if self.normalised_skip else z) + self.drop_path(attended)
        x = self.ln2(z)
        return z + self.drop_path(self.ffn(x)) if self.ffn.residual else self.ffn(x)

    def is_watched(self) -> bool:
        """Return True if a hook observes tokens after the attention; norm and projection always process all tokens."""
        parts = [part for name, part in self.named_modules() if name not in ('ln1', 'attn.qkv')]
        enters = any(part._forward_pre_hooks for part in parts if part is not self)
        return enters or any(part._forward_hooks or part._backward_hooks or part._backward_pre_hooks for part in parts)


@register_model
class CRATE(BaseModule):
    """White-box transformer backbone (arXiv 2306.01129, 2308.16271, 2405.20299; TSSA: 2412.17810).

    The defaults of an ``arch`` are the released models; each argument below changes one part. With
    ``attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv', norm_eps=1e-6`` it is the ViT. Its
    function and its parameter names are then those of mmpretrain's VisionTransformer.

    Departure from the released code: the LayerNorm in front of its classification head is ``ln1`` here, as in
    VisionTransformer, so that ``LinearClsHead`` is the rest.

    Args:
        arch: A name of ``ARCHS``, or a dict with ``embed_dims``, ``num_heads`` and ``num_layers``.
        img_size: Size of the training images, an int or (height, width); it sets the position table. For other sizes
            the table is interpolated.
        patch_size: Size of a patch, an int or (height, width). Images that it does not divide are padded below and to
            the right.
        in_channels: Channels of the images.
        out_indices: Layers whose tokens are returned, 0-based; negative ones count from the end. Later layers are not
            run and take no part in training.
        out_type: 'cls_token': (B, d); the last layer then computes [CLS] alone. 'raw': (B, N, d), [CLS] first.
            'featmap': (B, d, h, w). 'avg_featmap': mean of the patches, (B, d).
        with_cls_token: Whether the model has a [CLS] token.
        output_cls_token: Return each layer as a list of its 'featmap' (B, d, h, w) and its [CLS] token (B, d), as
            mmseg's ViT does for ``DPTHead``. Of Z = (z_cls, z_1, ..., z_n), (B, 1 + h w, d), the map holds z_1 to z_n
            row by row. Needs ``out_type='featmap'`` and a [CLS] token.
        num_registers: Number of registers (arXiv 2309.16588): learnt tokens after [CLS], without positions, which are
            dropped at the output.
        interpolation: ``dict(offset=..., antialias=...)``: how positions are interpolated for images of other sizes
            (:func:`resize_positions`); DINOv2 has an offset of 0.1, DINOv2 with registers ``antialias=True``.
        final_norm: Whether the last layer's output is normalised (after averaging for 'avg_featmap').
        attn_cfg: ``dict(type='MSSA' | 'MHSA' | 'TSSA', ...)`` with the arguments of that class in ``layers.py``.
        ffn_cfg: ``dict(type='ISTA' | 'ODL' | 'MLP', ...)`` with the arguments of that class.
        patch_embed: 'linear' (LayerNorm-Linear-LayerNorm) or 'conv'.
        skip: Tokens to which the attention's result is added: 'raw' (every released model) or 'normalised' (Algorithm
            1).
        norm_eps: epsilon of every norm.
        init: 'crate': [CLS] and positions N(0, 1), Linear as torch; 'alpha': positions and Linear N(0, 0.02), biases 0,
            [CLS] std 1e-6. Dictionaries are kaiming-uniform in both.
        drop_path_rate: Rate of the last layer; rises linearly from 0.
        frozen_stages: -1: nothing is frozen; 0: patch embedding, [CLS] and positions; n: also the first n layers; all
            layers: also the final norm.
        with_cp: Recompute each layer in the backward pass to save memory.
        window_size: Side, or (height, width), of attention windows in tokens, for images much larger than in the
            pre-training (see ``windows.py``); None: all attention is global. The weights are the same.
        global_attn_indexes: Layers whose attention stays global; negative ones count from the end. None: the last of
            each quarter of the layers (ViTDet, arXiv 2203.16527).
        init_cfg: Initialisation, as in mmengine, except that ``dict(type='Pretrained', checkpoint=...,
            prefix='backbone.')`` loads all weights or fails (see ``checkpoints/fill.py``).

    Raises:
        ValueError: An argument has another value than those above; the message names it.
    """

    init_cfg: dict | list[dict] | None

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'cls_token',
        with_cls_token: bool = True,
        output_cls_token: bool = False,
        num_registers: int = 0,
        interpolation: dict | None = None,
        final_norm: bool = True,
        attn_cfg: dict | None = None,
        ffn_cfg: dict | None = None,
        patch_embed: str | None = None,
        skip: str = 'raw',
        norm_eps: float | None = None,
        init: str | None = None,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        with_cp: bool = False,
        window_size: int | tuple[int, int] | None = None,
        global_attn_indexes: Sequence[int] | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        given = {key: value for key, value in locals().items() if key not in ('self', '__class__')}
        check_arguments(CRATE, given, 'CRATE')
        super().__init__(init_cfg)
        self.embed_dims, self.num_heads, self.num_layers, family = resolve_arch(arch)
        choose('out_type', out_type, OUT_TYPES)
        choose('skip', skip, ('raw', 'normalised'))
        if out_type == 'cls_token' and not with_cls_token:
            raise ArgumentError(
                "CRATE: out_type='cls_token' needs with_cls_token=True; use 'avg_featmap', 'featmap' or 'raw'"
            )
        if output_cls_token and not (with_cls_token and out_type == 'featmap'):
            raise ArgumentError("CRATE: output_cls_token=True needs with_cls_token=True and out_type='featmap'")
        if not 0 <= drop_path_rate < 1:
            raise ArgumentError(f'CRATE: drop_path_rate must lie in [0, 1), not {drop_path_rate}')
        if not -1 <= frozen_stages <= self.num_layers:
            raise ArgumentError(f'CRATE: frozen_stages must be -1 to {self.num_layers}, not {frozen_stages}')
        self.out_type, self.output_cls_token, self.final_norm = out_type, output_cls_token, final_norm
        self.out_indices = resolve_layers('out_indices', out_indices, self.num_layers)
        if not self.out_indices:
            raise ArgumentError('CRATE: out_indices is empty; name at least one layer')
        self.frozen_stages, self.with_cp = frozen_stages, with_cp
        if not isinstance(num_registers, int) or num_registers < 0:
            raise ArgumentError(f'CRATE: num_registers must be an integer that is at least 0, not {num_registers!r}')
        self.interpolation = interpolation or {}
        if unknown := self.interpolation.keys() - {'offset', 'antialias'}:
            raise ArgumentError(f'CRATE: interpolation has the keys offset and antialias, not {", ".join(unknown)}')
        self.num_cls = int(with_cls_token)
        self.num_extra_tokens = self.num_cls + num_registers
        norm_eps = family['norm_eps'] if norm_eps is None else norm_eps

        image, self.patch_size = to_pair(img_size), to_pair(patch_size)
        if min(*image, *self.patch_size, in_channels) < 1:
            raise ArgumentError(
                f'CRATE: img_size={img_size}, patch_size={patch_size} and in_channels={in_channels} must be at least 1'
            )
        self.grid = -(-image[0] // self.patch_size[0]), -(-image[1] // self.patch_size[1])
        self.patch_embed: nn.Module
        if choose('patch_embed', patch_embed or family['patch_embed'], ('linear', 'conv')) == 'linear':
            self.patch_embed = LinearPatchEmbed(in_channels, self.embed_dims, self.patch_size, norm_eps)
        else:
            self.patch_embed = ConvPatchEmbed(in_channels, self.embed_dims, self.patch_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, self.embed_dims)) if with_cls_token else None
        num_positions = self.num_cls + self.grid[0] * self.grid[1]
        self.pos_embed = nn.Parameter(torch.empty(1, num_positions, self.embed_dims))
        registers = torch.empty(1, num_registers, self.embed_dims)
        self.register_tokens = nn.Parameter(registers) if num_registers else None

        attn_cfg = {**(attn_cfg or family['attn_cfg']), 'dim': self.embed_dims, 'num_heads': self.num_heads}
        self.window_size = None if window_size is None else to_pair(window_size)
        if self.window_size and min(self.window_size) < 1:
            raise ArgumentError(f'CRATE: window_size counts tokens and is at least 1, not {window_size}')
        self.windowed_layers = resolve_windowed(self.window_size, global_attn_indexes, self.num_layers)
        ffn_cfg = {**(ffn_cfg or family['ffn_cfg']), 'dim': self.embed_dims}
        drop_path_rates = torch.linspace(0, drop_path_rate, self.num_layers, device='cpu').tolist()  # on meta, too
        self.layers = nn.ModuleList(
            CRATELayer(
                build_part('attn_cfg', attn_cfg, ATTENTIONS),
                build_part('ffn_cfg', ffn_cfg, FEEDFORWARDS),
                self.embed_dims,
                norm_eps,
                skip,
                rate,
            )
            for rate in drop_path_rates
        )
        if self.window_size and not ATTENTIONS[attn_cfg['type']].has_windows:
            raise ArgumentError(
                f'CRATE: {attn_cfg["type"]} is linear in the tokens, without windows: remove window_size'
            )
        self.ln1 = nn.LayerNorm(self.embed_dims, eps=norm_eps) if final_norm else None

        self._initialise(choose('init', init or family['init'], ('crate', 'alpha')))
        self._freeze()
        # Public under this name since torch 2.5 only.
        self._register_load_state_dict_pre_hook(_fit_positions, with_module=True)
        self._register_state_dict_hook(_record_grid)

    def _initialise(self, init: str) -> None:
        """Draw the weights that torch's constructors and the layers have not drawn."""
        cls_std, pos_std = (1.0, 1.0) if init == 'crate' else (1e-6, 0.02)
        nn.init.normal_(self.pos_embed, std=pos_std)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=cls_std)
        if self.register_tokens is not None:
            nn.init.normal_(self.register_tokens, std=cls_std)
        if init == 'alpha':
            for module in self.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    nn.init.normal_(module.weight, std=0.02)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

    def _frozen_modules(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        tail = [self.ln1] if self.frozen_stages == self.num_layers and self.ln1 is not None else []
        return [self.patch_embed, *self.layers[: self.frozen_stages], *tail]

    def _freeze(self) -> None:
        """Stop the gradients of frozen parts, and of layers that no output depends on (DDP would wait for them)."""
        last = self.out_indices[-1]
        unused = [*self.layers[last + 1 :]]
        if self.ln1 is not None and last < self.num_layers - 1:
            unused.append(self.ln1)
        for module in [*self._frozen_modules(), *unused]:
            module.requires_grad_(False)
        if self.frozen_stages >= 0:
            for table in (self.cls_token, self.register_tokens, self.pos_embed):
                if table is not None:
                    table.requires_grad_(False)

    def init_weights(self) -> None:
        """Initialise as mmengine does, except that ``Pretrained`` leaves no weight random.

        Raises:
            CheckpointError: The checkpoint does not fit this backbone.
        """
        given, first = self.init_cfg, not self.is_init
        cfgs = [given] if isinstance(given, dict) else given or []
        pretrained = [cfg for cfg in cfgs if cfg['type'] in ('Pretrained', PretrainedInit)]
        self.init_cfg = [cfg for cfg in cfgs if cfg not in pretrained]
        super().init_weights()
        self.init_cfg = given
        if first and pretrained:
            arguments = {key: value for key, value in pretrained[-1].items() if key != 'type'}
            load_pretrained(self, absent=('cls_token', 'ln1'), **arguments)

    def train(self, mode: bool = True) -> 'CRATE':
        """Set the mode as ``nn.Module.train`` does; frozen parts stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen_modules():
            module.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor | list[Tensor], ...]:
        """Return one output per layer of ``out_indices`` for normalised images (B, C, H, W).

        See ``out_type`` and ``output_cls_token`` for the shapes.
        """
        z, grid = self.patch_embed(images)
        if self.cls_token is not None:
            # of the images: the older ONNX exporter makes a constant of z.shape[0]
            z = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), z], dim=1)
        z = z + resize_positions(self.pos_embed, self.grid, grid, self.num_cls, **self.interpolation)
        if self.register_tokens is not None:
            registers = self.register_tokens.expand(images.shape[0], -1, -1)
            z = torch.cat([z[:, : self.num_cls], registers, z[:, self.num_cls :]], dim=1)
        outputs = []
        for index, layer in enumerate(self.layers[: self.out_indices[-1] + 1]):
            # of the last layer [CLS] alone is returned, and it attends to all tokens in any case
            last = index == self.out_indices[-1]
            is_cls = self.out_type == 'cls_token' and last and not layer.is_watched()  # type: ignore[operator] # a Module
            arguments = z, self._windows(grid, index), slice(1) if is_cls else None
            if self.with_cp and self.training:
                z = checkpoint(layer, *arguments, use_reentrant=False)
            else:
                z = layer(*arguments)
            if index in self.out_indices:
                norm = self.ln1 if index == self.num_layers - 1 else None
                outputs.append(self._format(z, grid, norm or nn.Identity()))
        return tuple(outputs)

    def _windows(self, grid: tuple[int, int], layer: int) -> Windows | None:
        """Return the windows of a layer; None where it attends to all tokens."""
        if self.windowed_layers and is_free(*grid):
            raise ArgumentError(
                'CRATE: window_size needs a fixed image size in an export, since the number of windows depends on it: '
                'leave only the batch free, or remove window_size'
            )
        window = self.window_size
        if window is None or layer not in self.windowed_layers or all(a <= b for a, b in zip(grid, window)):
            return None
        return Windows(grid, window, self.num_extra_tokens)

    def _format(self, z: Tensor, grid: tuple[int, int], norm: nn.Module) -> Tensor | list[Tensor]:
        """Return tokens (B, N, d) in the shape of ``out_type``; normalise only these."""
        if self.out_type == 'raw':
            if self.register_tokens is not None:
                z = torch.cat([z[:, : self.num_cls], z[:, self.num_extra_tokens :]], dim=1)
            return norm(z)
        if self.out_type == 'cls_token':
            return norm(z[:, 0])
        patches = z[:, self.num_extra_tokens :]
        if self.out_type == 'avg_featmap':
            return norm(patches.mean(dim=1))
        # (B, d, h, w); contiguous, since mmcv's RoIAlign ignores strides, and convolutions pass them on
        featmap = norm(patches).transpose(1, 2).unflatten(2, grid).contiguous()
        return [featmap, norm(z[:, 0])] if self.output_cls_token else featmap

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return (depth, number of depths) of a parameter for layer-wise learning-rate decay.

        The depth is 0 for the embeddings, 1 to L for the layers, L + 1 for the final norm and all that follows.

        Args:
            param_name: Name in the whole model.
            prefix: Name of this backbone in the model, for example 'backbone.'.
        """
        num_depths = self.num_layers + 2
        param_name, prefix = plain_name(param_name), plain_name(prefix)  # names of an unwrapped model
        name = param_name.removeprefix(prefix) if param_name.startswith(prefix) else ''
        if name.startswith(('cls_token', 'register_tokens', 'pos_embed', 'patch_embed')):
            return 0, num_depths
        if name.startswith('layers.'):
            return int(name.split('.')[1]) + 1, num_depths
        return num_depths - 1, num_depths


def _record_grid(module: CRATE, state_dict: dict, prefix: str, local_metadata: dict) -> None:
    """Record the grid where torch keeps a module's version: the shape of a table gives only its area."""
    local_metadata['grid'] = module.grid


def _fit_positions(module: CRATE, state_dict: dict, prefix: str, local_metadata: dict, *_) -> None:
    """Fit a table before loading: drop the position of a missing [CLS], interpolate the table of another grid."""
    name = f'{prefix}pos_embed'
    table, num_extra = state_dict.get(name), module.num_cls
    if table is None or table.ndim != 3 or table.shape[2] != module.embed_dims:
        return
    if not num_extra and f'{prefix}cls_token' in state_dict:
        table = table[:, 1:]
    recorded = local_metadata.get('grid')
    is_other = recorded is not None or table.shape[1] != module.pos_embed.shape[1]
    if num_extra and is_other and f'{prefix}cls_token' not in state_dict:
        raise ArgumentError(
            f'{name}: the checkpoint has {table.shape[1]} positions and no [CLS] (cls_token), this model has one: '
            'set with_cls_token=False'
        )
    source = _grid_of(name, table.shape[1] - num_extra, module.grid, recorded)
    if source != module.grid:
        table = resize_positions(table, source, module.grid, num_extra, **module.interpolation)
        MMLogger.get_current_instance().info(f'{name}: positions interpolated from grid {source} to {module.grid}')
    state_dict[name] = table


def _grid_of(name: str, number: int, own: tuple[int, int], recorded: Sequence[int] | None) -> tuple[int, int]:
    """Return the grid of a table of ``number`` patches in a checkpoint.

    A file of this project records its grid (``state_dict()``, the converter and trainings write it). Files of released
    ViTs and CRATEs do not, and all their grids are square. So without a record, a square number is a square grid, even
    if this model's own grid has as many patches (14 x 14 and 7 x 28). Any other number is the grid of this model, or
    unknown. If two grids are possible, a warning says which was taken.
    """
    if recorded is not None:
        if recorded[0] * recorded[1] != number:
            raise ArgumentError(f'{name}: the checkpoint has {number} patch positions, but records the grid {recorded}')
        return recorded[0], recorded[1]
    if number == own[0] * own[1] and own[0] != own[1]:
        grid = own if math.isqrt(number) ** 2 != number else square_grid(number)
        MMLogger.get_current_instance().warning(f'{name}: no grid of positions in the checkpoint, taken for {grid}')
        return grid
    return square_grid(number)


def resolve_arch(arch: str | dict) -> tuple[int, int, int, dict]:
    """Return (d, K, L, family) of a name or a dict; a dict has the parts of the CRATE family.

    Raises:
        ValueError: Unknown name, missing or unknown key, or a width that the heads do not divide.
    """
    if isinstance(arch, str):
        return ARCHS[choose('arch', arch.lower(), ARCHS)]
    keys = {'embed_dims', 'num_heads', 'num_layers'}
    if set(arch) != keys:
        raise ArgumentError(f'CRATE: arch as a dict has the keys {sorted(keys)}, not {sorted(arch)}')
    if not all(type(number) is int and number > 0 for number in arch.values()):
        raise ArgumentError(f'CRATE: the values of arch must be integers above 0, not {dict(arch)}')
    if arch['embed_dims'] % arch['num_heads']:
        raise ArgumentError(f'CRATE: num_heads={arch["num_heads"]} does not divide embed_dims={arch["embed_dims"]}')
    return arch['embed_dims'], arch['num_heads'], arch['num_layers'], CRATE_FAMILY


def resolve_windowed(window: tuple[int, int] | None, global_layers: Sequence[int] | None, num_layers: int) -> frozenset:
    """Return the layers that attend within windows."""
    if window is None:
        if global_layers is not None:
            raise ArgumentError(
                'CRATE: global_attn_indexes needs window_size: set window_size, or remove global_attn_indexes'
            )
        return frozenset()
    if global_layers is None:
        global_layers = [quarter * num_layers // 4 - 1 for quarter in range(1, 5)]
    return frozenset(range(num_layers)).difference(resolve_layers('global_attn_indexes', global_layers, num_layers))


def resolve_layers(name: str, indices: int | Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Return sorted, non-negative layer indices; ``name`` is the argument, for the message of an error."""
    given = [indices] if isinstance(indices, int) else indices
    if any(not -num_layers <= index < num_layers for index in given):
        raise ArgumentError(f'CRATE: {name} must lie in {-num_layers} to {num_layers - 1}, not {indices}')
    return tuple(sorted({index % num_layers for index in given}))


def to_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return an int or (height, width) as (height, width)."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def choose(name: str, value, allowed):
    """Return ``value`` of the argument ``name``, if it is one of ``allowed``."""
    if value not in allowed:
        raise ArgumentError(f'CRATE: {name} must be one of {", ".join(allowed)}; not {value!r}')
    return value


def build_part(name: str, cfg: dict, table: dict) -> nn.Module:
    """Build the part of a layer that ``cfg`` describes."""
    arguments = dict(cfg)
    part = table[choose(f"{name}['type']", arguments.pop('type', None), table)]
    check_arguments(part, arguments, f'CRATE: {name}={cfg}')
    return part(**arguments)
