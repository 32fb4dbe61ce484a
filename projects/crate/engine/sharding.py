"""Shard large models over processes (FSDP): the units of CRATE, and remedies for mmengine's strategy."""

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.model import MMFullyShardedDataParallel
from mmengine.registry import FUNCTIONS, MODEL_WRAPPERS, STRATEGIES
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ..models.crate import CRATELayer


@FUNCTIONS.register_module()
def wrap_crate_layers(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Return True if FSDP should wrap (or look inside) a module: each layer of a CRATE is one unit, the rest another.

    FSDP asks with ``recurse`` whether to look inside a module (always), and without it whether to wrap the module.
    """
    return recurse or isinstance(module, CRATELayer)


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy`` with two remedies; ``tools/train.py`` uses it instead.

    - mmengine <= 0.10.7 (and onedl-mmengine <= 0.10.12) cannot resume. It gives the arguments of
      ``optim_state_dict_to_load`` in the order that torch 2.1 changed.
    - On a CPU, FSDP needs its device as an object, and offloading to the CPU crashes torch 2.12 while saving.
    """

    def __init__(self, *, model_wrapper: dict | None = None, **kwargs) -> None:
        if get_device() == 'cpu':
            model_wrapper = dict(model_wrapper or {}, type='CPUFullyShardedDataParallel')
        super().__init__(model_wrapper=model_wrapper, **kwargs)
        if get_device() == 'cpu':
            self.state_dict_config.offload_to_cpu = self.optim_state_dict_config.offload_to_cpu = False

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Give every process its shard of the optimiser's state, from the state of the whole model."""
        shard = FullyShardedDataParallel.optim_state_dict_to_load(self.model, self.optim_wrapper.optimizer, state_dict)
        self.optim_wrapper.load_state_dict(shard)


@MODEL_WRAPPERS.register_module()
class CPUFullyShardedDataParallel(MMFullyShardedDataParallel):
    """``MMFullyShardedDataParallel`` on the CPU; ``device_id`` is ignored: the strategy gives a GPU number."""

    def __init__(self, module: nn.Module, device_id: int | None = None, **kwargs) -> None:
        super().__init__(module=module, device_id=torch.device('cpu'), **kwargs)
