"""Read features and attention during a forward pass of a backbone."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import ArgumentError, UnknownLayerError
from .features import FACETS, Adapter, Call, adapter_of
from .library_api import LibraryModel
from .unwrap import unwrap


@dataclass(frozen=True)
class Observation:
    """One layer in one forward pass: what its projections returned, and what the layer returned.

    Attributes:
        adapter: How to read this class of backbone.
        call: The call of the attention.
        output: Output of the layer, (B, N, d), if ``outputs`` is set: with ISTA, the sparse code.
        has_cls: Whether the first token is [CLS].
    """

    adapter: Adapter
    call: Call
    output: Tensor | None = None
    has_cls: bool = True

    @property
    def attn(self) -> nn.Module:
        """Return the attention module."""
        return self.call.attn

    @property
    def num_heads(self) -> int:
        """Return the number of heads K."""
        return self.adapter.num_heads(self.attn)

    @property
    def num_extra_tokens(self) -> int:
        """Return the number of tokens in front of the patches; the first is [CLS], if there is one."""
        return self.call.num_extra_tokens

    @property
    def projected(self) -> Tensor:
        """Return the output of the first projection: of ``qkv``, (B, N, d) or (B, N, 3 d)."""
        return next(iter(self.call.outputs.values()))

    @property
    def features(self) -> Tensor:
        """Return U^T z of all heads side by side (keys for a ViT), (B, N, d), [CLS] first."""
        return self.facet('key')

    @property
    def patch_features(self) -> Tensor:
        """Return the features of the patches alone, row by row, (B, h w, d)."""
        return self.features[:, self.num_extra_tokens :]

    def facet(self, name: str) -> Tensor:
        """Return query, key or value of all heads side by side, before any rotation, or the layer's output: (B, N, d).

        Raises:
            ValueError: Another name, or 'token' without ``observe(..., outputs=True)``.
        """
        if name not in FACETS:
            raise ArgumentError(f'facet must be one of {", ".join(FACETS)}, not {name!r}')
        if name == 'token':
            if self.output is None:
                raise ArgumentError("facet='token': call observe(..., outputs=True)")
            return self.output
        query, key, value = self.adapter.query_key_value(self.call)
        return dict(query=query, key=key, value=value)[name]

    def attention(self, rows: slice = slice(None)) -> Tensor:
        """Return the attention of the tokens ``rows`` to all tokens, (B, K, rows, N).

        Raises:
            ValueError: Rows of patches that attended within windows.
        """
        if self.adapter.is_windowed(self.call) and rows.indices(self.projected.shape[1])[1] > self.num_extra_tokens:
            raise ArgumentError(
                'attention: the patches of this layer attend within windows; build the backbone without window_size'
            )
        return self.adapter.attention_map(self.call, rows)

    def cls_attention(self) -> Tensor:
        """Return the attention of [CLS] to the patches, with sum 1: (B, K, h w) (arXiv 2308.16271, Appendix B.1).

        Raises:
            ValueError: There is no [CLS] token.
        """
        if not self.has_cls:
            raise ArgumentError('cls_attention: the backbone has no [CLS] (with_cls_token=False)')
        # without the column of [CLS]: a long [CLS] attends to itself alone, and the rest of its row underflows
        row = self.adapter.attention_map(self.call, slice(0, 1), slice(self.num_extra_tokens, None))
        return (row / row.sum(-1, keepdim=True))[:, :, 0]


class Observations(dict):
    """{requested layer: Observation}; the error for a missing layer gives the reason."""

    def __missing__(self, layer: int) -> Observation:
        """Raise LookupError with the reason."""
        raise UnknownLayerError(
            f'layer {layer} was not observed: it was not requested, or has not run (a backbone may stop after the last '
            'of its out_indices)'
        )

    def patches(self, layers: Sequence[int], facet: str = 'key', centred: bool = False) -> Tensor:
        """Return a facet of the patches in some layers, side by side, (B, h w, d), at least float32: what MaskCut cuts.

        ``centred`` takes the mean over the patches of the image away.
        """
        parts = [self[layer].facet(facet)[:, self[layer].num_extra_tokens :] for layer in layers]
        found = torch.cat(parts, dim=-1)
        found = found.to(torch.promote_types(found.dtype, torch.float32))  # halves come from autocast
        return found - found.mean(1, keepdim=True) if centred else found


@contextmanager
def observe(backbone: nn.Module, layers: Sequence[int], outputs: bool = False) -> Iterator[Observations]:
    """Record the attention of some layers during a forward pass; nothing stays behind on the model.

    >>> with observe(backbone, layers=[10]) as seen:
    ...     backbone(images)
    >>> seen[10].features, seen[10].cls_attention()

    Args:
        backbone: A ViT of ``features.py``, also within wrappers (DDP, mmpretrain's LoRAModel). Of a
            compiled backbone call the inner module: ``unwrap(backbone)(images)``.
        layers: 0-based indices; negative ones count from the end.
        outputs: Whether to keep the outputs of the layers; the last layer then computes all tokens.

    Yields:
        {index as given: Observation}, filled by the forward pass; a second pass replaces it.

    Raises:
        TypeError: The backbone has no attention that can be read.
        IndexError: It has no such layer.
    """
    backbone = unwrap(backbone)
    adapter = adapter_of(backbone)
    seen, number, existing = Observations(), adapter.num_extra_tokens(backbone), adapter.layers(backbone)
    ours = range(-len(existing), len(existing))
    if wrong := [index for index in layers if index not in ours]:  # a setting may be no number
        raise UnknownLayerError(
            f'{type(backbone).__name__} has no layer {wrong[0]}: it has {len(existing)} layers, the first is 0'
        )
    with ExitStack() as hooks:
        for index in layers:
            layer = existing[index]
            attn, caller = adapter.attention(layer), adapter.caller(layer)
            calls: list[Call] = []
            names, signature = adapter.recorded(attn), inspect.signature(unwrap(caller).forward)

            def keep(index=index, calls=calls, names=names) -> None:
                if len(calls[-1].outputs) == len(names):
                    seen[index] = Observation(adapter, calls[-1], has_cls=adapter.has_cls(backbone))

            def before(_, args, kwargs, layer=layer, attn=attn, calls=calls, signature=signature, keep=keep) -> None:
                given = signature.bind(*args, **kwargs).arguments
                kept = {name: given[name] for name in adapter.arguments if name in given}
                calls[:] = [Call(layer, attn, kept, {}, number)]
                keep()

            def between(_, __, output, name, calls=calls, keep=keep) -> None:
                calls[-1].outputs[name] = output
                keep()

            def after(_, __, output, index=index) -> None:
                if index in seen:  # False where an attention does not call its projection
                    seen[index] = replace(seen[index], output=adapter.token(output))

            hooks.callback(caller.register_forward_pre_hook(before, with_kwargs=True).remove)
            for name in names:
                module = attn.get_submodule(name)
                hooks.callback(module.register_forward_hook(partial(between, name=name)).remove)
            if outputs:
                hooks.callback(layer.register_forward_hook(after).remove)
        yield seen


def check_layers(backbone: nn.Module, layers: Sequence[int]) -> None:
    """Refuse layers that :func:`observe` refuses and layers that do not run, before any image is seen.

    Raises:
        TypeError: The backbone has no attention that can be read.
        IndexError: It has no such layer, or does not run it.
    """
    with observe(backbone, layers):
        pass
    backbone = unwrap(backbone)
    adapter = adapter_of(backbone)
    if unused := [layer for layer in layers if layer % len(adapter.layers(backbone)) > adapter.last_layer(backbone)]:
        raise UnknownLayerError(
            f'{type(backbone).__name__} does not run layer {unused[0]}: it stops after out_indices '
            f'{backbone.out_indices}'
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and restore the mode of every part afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class BackboneReader(LibraryModel, BaseModel):
    """A model without training, whose results are read from the attention of a backbone.

    The only weights are the backbone's, under ``backbone.``: checkpoints of classifiers fit. A backbone in the middle
    of its training stays unchanged: its device, the mode of every part, gradients and hooks.

    Args:
        backbone: A ViT of ``features.py``, as a config or as the module itself.
        data_preprocessor: Data preprocessor, as in every OpenMMLab model.
        init_cfg: Initialisation, as in mmengine.
    """

    def __init__(
        self, backbone: dict | nn.Module, data_preprocessor: dict | nn.Module | None, init_cfg: dict | list | None
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = backbone if isinstance(backbone, nn.Module) else MODELS.build(backbone)
        self.data_preprocessor.to(next(self.backbone.parameters()).device)

    def read(self, inputs: Tensor, layers: Sequence[int], mode: str, outputs: bool = False) -> Observations:
        """Observe some layers while images (B, 3, H, W) pass; the only modes are 'predict' and 'tensor'."""
        if mode not in ('predict', 'tensor'):
            name = type(self).__name__
            raise NotImplementedError(f"{name}: mode must be 'predict' or 'tensor', not {mode!r}: no training")
        backbone = unwrap(self.backbone)
        with evaluating(self.backbone), observe(backbone, layers, outputs) as seen:
            adapter_of(backbone).run(backbone, inputs)
        return seen
