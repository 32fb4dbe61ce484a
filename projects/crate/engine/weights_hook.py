"""Refuse checkpoints that leave weights of the model random."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType

from ..checkpoints.fill import count_weights, fill, warn_if_not_finite
from ..checkpoints.read import CheckpointError, Weights, rename_state, weights_of, without_wrappers
from ..files import printable
from ..models import CRATE
from .training_state import check_settings, check_state


class WholeWeightsHook(Hook):
    """Fill the model from a checkpoint as it is loaded, or raise an error.

    If names or shapes differ, mmengine only logs a warning and continues with random weights. This hook takes the
    weights out of known wrappers, checks them and loads them. It gives them to mmengine under the names of the model,
    so that later hooks (EMA) find them, too. Shards, which FSDP writes to folders, are left to its strategy.

    A resumed training must be of the same model: weights without a place in the model are an error as well.

    Args:
        optional: Parts of the model that may stay random if ``load_from`` has no weights of their shapes.
    """

    priority = 'VERY_HIGH'

    def __init__(self, optional: Sequence[str] = ()) -> None:
        self.optional = optional

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Fill the model."""
        model = runner.model
        source = printable(str(runner._load_from or 'the checkpoint'))
        if runner._resume:
            check_state(checkpoint, source)
        is_sharded = isinstance(model, FullyShardedDataParallel)
        if is_sharded and model.get_state_dict_type(model).state_dict_type != StateDictType.FULL_STATE_DICT:
            return
        model = model if is_sharded else _plain(model)
        weights = weights_of(checkpoint, source)
        if runner._resume:
            check_settings(checkpoint, runner.optim_wrapper, runner.param_schedulers, source)
            _check_grids(model, weights)
            filling = fill(model, weights, absent=())
            _check_average(checkpoint, filling.tensors, source)
            _check_gradients(checkpoint, filling.tensors, source)
        else:
            is_training = isinstance(runner._train_loop, BaseLoop)
            optional = self.optional if is_training else ()
            filling = fill(model, weights, optional=optional, setting='load_from_except' if is_training else '')
        checkpoint['state_dict'] = filling.tensors
        message = f'{len(filling.tensors)} weights loaded from {source}; {len(filling.surplus)} others are not used'
        if filling.kept:
            message += f'; load_from_except: {count_weights(filling.kept)} stay random'
        print_log(message, logger='current')


def _plain(model: nn.Module) -> nn.Module:
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def _check_grids(model: nn.Module, weights: Weights) -> None:
    """Check that a resumed training keeps its grids; positions without a recorded grid have the grid of the model."""
    for path, module in model.named_modules():
        if not isinstance(module, CRATE):
            continue
        name = without_wrappers(path)
        table = weights.tensors.get(f'{name}.pos_embed'.removeprefix('.'))
        recorded = weights.tensors._metadata.setdefault(name, {}).setdefault('grid', module.grid)
        number = module.num_cls + module.grid[0] * module.grid[1]
        if tuple(recorded) != module.grid or (table is not None and table.shape[1] != number):
            raise CheckpointError(
                f'{weights.source}: its positions are not of the grid {module.grid} that the model has; resume with '
                f'the same img_size, or start from it with --cfg-options load_from={weights.source}'
            )


def _check_average(checkpoint: dict, tensors: dict, source: str) -> None:
    """Check that the averaged weights (EMA) are whole, too, and give them the metadata of the model's modules."""
    average = checkpoint.get('ema_state_dict')
    if average is None:
        return
    if not isinstance(average, dict) or not all(isinstance(value, Tensor) for value in average.values()):
        raise CheckpointError(f'{source}: its ema_state_dict is not what mmengine saves')
    shapes = {name.removeprefix('module.'): value.shape for name, value in average.items()}
    if wrong := [name for name, value in tensors.items() if shapes.get(name) != value.shape]:
        raise CheckpointError(f'{source}: its ema_state_dict does not fit the model: {count_weights(wrong)} missing')
    warn_if_not_finite(average, f'ema_state_dict of {source}')
    average = checkpoint['ema_state_dict'] = rename_state(average, lambda name: name)
    average._metadata = {f'module.{path}'.removesuffix('.'): entry for path, entry in tensors._metadata.items()}


def _check_gradients(checkpoint: dict, tensors: dict, source: str) -> None:
    """Check that gradients that wait for their step (``AtomicCheckpointHook``) are those of the model."""
    gradients = checkpoint.get('gradients', {})
    shapes = {name: value.shape for name, value in tensors.items()}
    named = gradients.items() if isinstance(gradients, dict) else [('', None)]
    if not all(
        isinstance(value, Tensor) and shapes.get(without_wrappers(name)) == value.shape for name, value in named
    ):
        raise CheckpointError(f'{source}: its gradients do not fit the model')
    warn_if_not_finite(gradients, f'gradients of {source}')
