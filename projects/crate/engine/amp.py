"""Compute in mixed precision without a loss scaler."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import autocast
from torch import Tensor, nn

from .model_parts import find_part


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast on any device, also on a CPU; weights stay in float32.

    bfloat16 has the exponent range of float32: gradients need no scaling, and accumulation and clipping are those of
    ``OptimWrapper``. mmengine's ``AmpOptimWrapper`` refuses to run on a CPU. ``tools/train.py --amp`` chooses.

    Args:
        parts: Names of the parts of the model that run in bfloat16 and return float32; None: the whole model. Detectors
            need ``parts=['backbone', 'neck']``: operators of mmcv in their heads (NMS, RoIAlign) take no bfloat16.
        **kwargs: Arguments of :class:`mmengine.optim.OptimWrapper`.

    >>> optim_wrapper = dict(type='AutocastOptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))

    Raises:
        ValueError: The model has no part of such a name.
    """

    def __init__(self, *args, parts: Sequence[str] | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.parts = parts

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and mmengine's context that delays gradient synchronisation while accumulating."""
        with super().optim_context(model), ExitStack() as stack:
            if self.parts is None:
                stack.enter_context(autocast(dtype=torch.bfloat16))
            for name in self.parts or ():
                stack.enter_context(_in_bfloat16(find_part(model, name, 'parts')))
            yield


@contextmanager
def _in_bfloat16(part: nn.Module) -> Iterator[None]:
    """Let ``part`` compute under autocast and return float32 maps."""
    forward, attributes = part.forward, vars(part)
    own = attributes.get('forward')  # of the instance: torch.compile has one, and others may have patched it

    def autocast_forward(*args, **kwargs) -> tuple[Tensor, ...]:
        with autocast(dtype=torch.bfloat16):
            maps = forward(*args, **kwargs)
        return tuple(each.float() for each in maps)

    attributes['forward'] = autocast_forward
    try:
        yield
    finally:
        if own is None:
            del attributes['forward']
        else:
            attributes['forward'] = own
