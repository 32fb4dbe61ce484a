"""Find parts of a model by name, and how its images are normalised."""

from mmengine.hooks import EMAHook
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ..errors import ArgumentError
from ..models.unwrap import unwrap


def find_module(model: nn.Module, name: str, argument: str = 'backbone') -> nn.Module:
    """Return a part of a model as :func:`find_part` does, without wrappers around it."""
    return without_wrappers(find_part(model, name, argument))


def find_part(model: nn.Module, name: str, argument: str) -> nn.Module:
    """Return a part of a model by its dotted name, through wrappers on the way: DDP, LoRA, test-time augmentation.

    Args:
        model: Model that has the part.
        name: Dotted name, for example 'student.backbone'.
        argument: Name of the setting that the user gave; messages start with it.

    Raises:
        ValueError: There is no such part, or FSDP has sharded the weights.
    """
    if isinstance(model, FullyShardedDataParallel):
        raise ArgumentError(f'{argument}={name!r}: no process has all of it under FSDP: use DDP, or test checkpoints')
    module = model
    for part in name.split('.'):
        if part not in dict(module.named_children()):  # a name may also spell a wrapper out: 'backbone.module'
            module = without_wrappers(module)
        children = dict(module.named_children())
        if part not in children:
            owner = type(module).__name__
            raise ArgumentError(f'{argument}={name!r}: {owner} has no {part!r}, it has {", ".join(children)}')
        module = children[part]
    return module


def without_wrappers(module: nn.Module) -> nn.Module:
    """Return the model within DDP, LoRA, torch.compile and mmengine's test-time augmentation."""
    module = unwrap(module)
    while isinstance(module, BaseTTAModel):
        module = unwrap(module.module)
    return module


def averaged_model(runner: Runner) -> nn.Module:
    """Return the model with the averaged weights of mmengine's ``EMAHook``; raise ArgumentError if the run has none."""
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            return hook.ema_model.module
    raise ArgumentError('use_ema=True needs an EMAHook in custom_hooks')


def normalisation_of(preprocessor: nn.Module) -> dict:
    """Return the config of an mmengine ``ImgDataPreprocessor`` that normalises images as ``preprocessor`` does."""
    while hasattr(preprocessor, 'data_preprocessor'):  # mmdet's student-teacher models wrap it
        preprocessor = preprocessor.data_preprocessor
    names = ('to_rgb', 'channel_conversion', '_channel_conversion')  # mmpretrain, mmseg, mmengine and mmdet
    cfg = dict(type='ImgDataPreprocessor', bgr_to_rgb=any(getattr(preprocessor, name, False) for name in names))
    if hasattr(preprocessor, 'mean'):
        cfg.update(mean=preprocessor.mean.flatten().tolist(), std=preprocessor.std.flatten().tolist())
    return cfg
