"""Train on small images first, which is fast."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class SmallImagesHook(Hook):
    """Load images of a smaller size until some iteration, then of the data set's own size.

    A backbone whose position table is interpolated takes images of any size; half the side is a quarter of the tokens.
    The data set is ``ImagesInMemory``. A resumed run continues at the size of its iteration.

    Args:
        size: Size of the small images, an int or (h, w).
        until: First iteration at the full size, 0-based.
    """

    def __init__(self, size: int | tuple[int, int], until: int) -> None:
        self.size, self.until = size, until

    def before_train(self, runner: Runner) -> None:
        """Remember the full size, and set the size of the first batch, which is drawn before its iteration begins."""
        self._dataset = runner.train_dataloader.dataset
        self._full = self._dataset.size
        self._choose(runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Set the size of the next batch."""
        self._choose(runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Leave the data set as it was."""
        self._dataset.size = self._full

    def _choose(self, iteration: int) -> None:
        self._dataset.size = self.size if iteration < self.until else self._full
