"""Schedule the learning rate as the released CRATE training code does; fit the schedules of a config to a short run."""

import logging
import math

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS
from torch.optim import Optimizer

from ..errors import ArgumentError


@PARAM_SCHEDULERS.register_module()
class RampedCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Set the learning rate lr_t = lr min((t + 1) / ramp, (1 + cos(pi t / T)) / 2).

    It is the schedule of the training script released with arXiv 2306.01129, where ramp = 20 epochs. The cosine spans
    the whole training under the ramp; it does not begin after a warm-up. t counts the steps since ``begin``, and
    T = end - begin. The value depends on t alone, so no other scheduler may change the same learning rate. With
    ``convert_to_iter_based=True``, t, ramp and T are iterations.

    >>> param_scheduler = dict(type='RampedCosineLR', ramp=20, by_epoch=True)  # T: the epochs of the training loop

    Args:
        optimizer: Wrapped optimiser.
        ramp: Steps (epochs or iterations) until the rising branch reaches the base learning rate.
        begin: First step.
        end: Step after the last one; mmengine's Runner fills in the length of the training.
        last_step: Index of the last step, for resuming without a state dict.
        by_epoch: Whether a step is an epoch.
        verbose: Whether each value is logged.

    Raises:
        ValueError: ``ramp`` is less than 1, or ``end`` is not given.
    """

    def __init__(
        self,
        optimizer: Optimizer | OptimWrapper,
        ramp: int = 20,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if ramp < 1:
            raise ArgumentError(f'RampedCosineLR: ramp must be at least 1, not {ramp}')
        if end >= INF:
            raise ArgumentError('RampedCosineLR: the cosine needs an end; set `end` to the length of the training')
        self.ramp = ramp
        super().__init__(optimizer, begin=begin, end=end, last_step=last_step, by_epoch=by_epoch, verbose=verbose)

    @classmethod
    def build_iter_from_epoch(
        cls, *args, ramp: int = 20, begin: int = 0, end: int = INF, epoch_length: int, by_epoch: bool = True, **kwargs
    ) -> 'RampedCosineLR':
        """Return the schedule by iteration from arguments in epochs: mmengine's ``convert_to_iter_based=True``."""
        if not by_epoch:
            raise ArgumentError('RampedCosineLR: convert_to_iter_based=True goes with by_epoch=True')
        lengths = dict(ramp=ramp * epoch_length, begin=begin * epoch_length, end=min(end * epoch_length, INF))
        return cls(*args, **lengths, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        """Return the learning rate of each parameter group at ``last_step``."""
        t, total = self.last_step, self.end - self.begin
        factor = min((t + 1) / self.ramp, (1 + math.cos(math.pi * t / total)) / 2)
        return [value * factor for value in self.base_values]


def drop_late_schedulers(cfg: Config) -> None:
    """Leave out the schedulers that begin after the end of the run, in place, and warn of each.

    A trial run ends before they begin, for example with ``--cfg-options train_cfg.max_iters=20``. mmengine refuses them
    ("end should be larger than begin"). A scheduler in epochs stays in a loop of iterations, and the other way round:
    the length of an epoch is not known yet.
    """
    given = cfg.get('param_scheduler')
    schedulers = given if isinstance(given, list) else [given]
    kept = [one for one in schedulers if not (isinstance(one, dict) and _is_late(one, cfg.train_cfg))]
    if len(kept) < len(schedulers):
        cfg.param_scheduler = kept


def _is_late(scheduler: dict, loop: dict) -> bool:
    unit = 'epochs' if scheduler.get('by_epoch', True) else 'iters'
    begin, length = scheduler.get('begin', 0), loop.get(f'max_{unit}')
    if not (isinstance(length, int) and isinstance(begin, int) and begin >= length):
        return False
    told = f'param_scheduler: {scheduler.get("type")} begins at {begin}, after the run: it is left out'
    print_log(f'{told} (train_cfg.max_{unit}={length})', 'current', logging.WARNING)
    return True
