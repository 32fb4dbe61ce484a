"""Decay the learning rate by layer, for the models of all three libraries."""

from logging import WARNING

from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..errors import ArgumentError, ArgumentTypeError, UserError
from ..models.unwrap import plain_name, unwrap


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Give a parameter at depth i of n the learning rate lr * rate^(n - 1 - i).

    Source: BEiT (arXiv 2106.08254), ViTDet (arXiv 2203.16527). Depths come from ``model.backbone.get_layer_depth(name,
    'backbone.')``, or of the first other part that has this method: the ``image_encoder`` of a retriever, the
    ``student.backbone`` of a student-teacher model, the ``detector.backbone`` of a tracker. The backbone may be wrapped
    (mmpretrain's ``LoRAModel``, ``torch.compile``). Settings of mmengine's default constructor
    (``custom_keys``, ``norm_decay_mult``, ...) keep their meaning; the decay multiplies the result.
    A parameter that two modules share (heads of RTMDet) gets one group, at its first name: mmengine's
    ``bypass_duplicate``, which is on here unless the config turns it off.

    >>> optim_wrapper = dict(
    ...     constructor='LayerDecayOptimWrapperConstructor',
    ...     paramwise_cfg=dict(layer_decay_rate=0.7, norm_decay_mult=0.),
    ...     optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.1))

    Raises:
        ValueError: No ``layer_decay_rate``, or no learning rate to decay.
        TypeError: The model has no ``backbone`` with ``get_layer_depth``.
        UserError: The backbone finds none of its layers among the model's parameters, so that nothing would decay.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        self.paramwise_cfg = dict(bypass_duplicate=True) | self.paramwise_cfg  # torch takes no parameter twice
        if self.paramwise_cfg.get('layer_decay_rate') is None or self.base_lr is None:
            raise ArgumentError(
                'LayerDecayOptimWrapperConstructor: set paramwise_cfg.layer_decay_rate and optimizer.lr'
            )

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """Add one group per trainable parameter of ``module`` to ``params``; mmengine calls this for each child too."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix == '':
            self._decay(params, module)

    def _decay(self, params: list[dict], model: nn.Module) -> None:
        rate = self.paramwise_cfg['layer_decay_rate']
        parts = dict(unwrap(model).named_modules())  # from the outside in
        names = [name for name, part in parts.items() if _has_depths(unwrap(part))]
        if not names:
            raise ArgumentTypeError(
                f'LayerDecayOptimWrapperConstructor: {type(model).__name__} has no backbone with get_layer_depth'
            )
        chosen = 'backbone' if 'backbone' in names else names[0]
        backbone = parts[chosen]
        below = {}  # parameter -> number of depths above its own
        for name, parameter in model.named_parameters():
            depth, num_depths = unwrap(backbone).get_layer_depth(plain_name(name), f'{plain_name(chosen)}.')
            below[id(parameter)] = num_depths - 1 - depth
        kind = type(unwrap(backbone)).__name__
        if not any(below.values()):
            raise UserError(
                f'LayerDecayOptimWrapperConstructor: {kind} finds none of its layers among the parameters of '
                f'model.{chosen} ({type(backbone).__name__}): remove layer_decay_rate, or the wrapper around {kind}'
            )
        if not any(below[id(group['params'][0])] for group in params):
            print_log(f'layer_decay_rate={rate} changes nothing: all layers of {kind} are frozen', 'current', WARNING)
        for group in params:
            group['lr'] = group.get('lr', self.base_lr) * rate ** below[id(group['params'][0])]


def _has_depths(part: nn.Module) -> bool:
    """Return True for a backbone; mmpretrain's classifiers have the method, too, but take no prefix."""
    return hasattr(part, 'get_layer_depth') and not isinstance(part, BaseModel)
