"""Train and test: from a config to a runner, with loops, checkpoints, hooks, schedules and mixed precision."""

from mmengine.registry import VISUALIZERS

from ..registration import register_later
from .amp import AutocastOptimWrapper
from .attention_hook import AttentionHook
from .checkpoint import AtomicCheckpointHook
from .distributed import CPUDistributedDataParallel, MainProcessLoggerHook
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loops import ResumableEpochBasedTrainLoop, ResumableIterBasedTrainLoop
from .maskcut_hook import MaskCutHook
from .progress import ProgressBarHook
from .schedulers import RampedCosineLR
from .sharding import CPUFullyShardedDataParallel, ResumableFSDPStrategy, wrap_crate_layers
from .small_images_hook import SmallImagesHook
from .sparse_rate_hook import SparseRateHook
from .strides_hook import CheckStridesHook

__all__ = [
    'AtomicCheckpointHook',
    'AttentionHook',
    'AutocastOptimWrapper',
    'CPUDistributedDataParallel',
    'CPUFullyShardedDataParallel',
    'CheckStridesHook',
    'LayerDecayOptimWrapperConstructor',
    'MainProcessLoggerHook',
    'MaskCutHook',
    'ProgressBarHook',
    'RampedCosineLR',
    'ResumableEpochBasedTrainLoop',
    'ResumableFSDPStrategy',
    'ResumableIterBasedTrainLoop',
    'SmallImagesHook',
    'SparseRateHook',
    'wrap_crate_layers',
]

register_later(VISUALIZERS, __name__, 'object_visualizer', 'ObjectVisualizer')
