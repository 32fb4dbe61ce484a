"""Check that a pyramid and the heads agree, before the first iteration."""

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..models.simple_fpn import check_strides


@HOOKS.register_module()
class CheckStridesHook(Hook):
    """End a run if its heads have other strides than the ``SimpleFPN`` in front of them.

    ``tools/train.py`` and ``tools/test.py`` add it. Other tools: ``custom_hooks=[dict(type='CheckStridesHook')]``.
    A key of ``default_hooks`` keeps the hooks of a stock config:

    >>> default_hooks = dict(strides=dict(type='CheckStridesHook', ignore=['bbox_head']))

    Args:
        ignore: Names of parts of the model that are not checked. A name includes the parts below it.

    Raises:
        StridesError: Before the run begins.
    """

    priority = 'VERY_HIGH'

    def __init__(self, ignore: str | Sequence[str] = ()) -> None:
        self.ignore = [ignore] if isinstance(ignore, str) else ignore

    def before_run(self, runner: Runner) -> None:
        """Check the model."""
        check_strides(runner.model.module if is_model_wrapper(runner.model) else runner.model, self.ignore)
