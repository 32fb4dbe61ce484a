"""Show progress bars while a run is watched."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

from mmengine.dist import is_distributed, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from rich.console import Console
from rich.control import Control
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

NAMES = dict(train='training', val='validation', test='test')


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show bars with elapsed and remaining time below the log: one for training, one for each evaluation.

    ``tools/train.py`` and ``tools/test.py`` add it on a terminal. It changes nothing but the screen.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, TextColumn('left'), TimeRemainingColumn(), console=console, transient=True)
        self._tasks: dict[str, int] = {}
        self._streams: list[tuple[logging.StreamHandler, TextIO]] = []

    def before_run(self, runner: Runner) -> None:
        """Let the log and the bars share the screen: a line of the log is printed above the bars."""
        if not is_main_process():
            return
        with _interrupted_later():  # rich cannot stop a bar that has started by half
            self._progress.start()
        if _is_main_thread() and not is_distributed() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._end)
        for handler in screen_handlers(runner.logger):
            self._streams.append((handler, handler.stream))
            handler.setStream(_Above(self._progress.console))

    def after_run(self, runner: Runner) -> None:
        """Give the screen back."""
        self.close()

    def close(self) -> None:
        """Remove the bars, show the cursor, and let the log write to the screen itself.

        An error or Ctrl-C ends a run without calling hooks: the caller of the run then calls this. A second call does
        nothing.
        """
        self._progress.stop()
        while self._streams:
            handler, stream = self._streams.pop()
            handler.setStream(stream)
        if _is_main_thread() and signal.getsignal(signal.SIGTERM) == self._end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _end(self, number: int, frame: FrameType | None) -> None:
        """Give the screen back and die of the signal, as without this hook."""
        signal.signal(number, signal.SIG_DFL)
        with suppress(RuntimeError):  # the signal came within a write: the file takes no second one
            self.close()
        console = self._progress.console
        if console.is_terminal:  # a console that was interrupted within a print keeps the rest to itself
            os.write(console.file.fileno(), str(Control.show_cursor(True)).encode())
        os.kill(os.getpid(), number)

    def before_train(self, runner: Runner) -> None:
        """Start the bar of the training, where a resumed run stands."""
        self._restart('train', runner.max_iters, runner.iter)

    def _before_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode != 'train':
            self._restart(mode, len(runner.val_dataloader if mode == 'val' else runner.test_dataloader))

    def _after_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None, mode: str = 'train') -> None:
        self._progress.advance(self._tasks[mode])

    def _after_epoch(self, runner: Runner, mode: str = 'train') -> None:
        if mode == 'val':
            self._progress.remove_task(self._tasks.pop(mode))

    def _restart(self, mode: str, total: int, done: int = 0) -> None:
        self._tasks[mode] = self._progress.add_task(NAMES[mode], total=total, completed=done)


def screen_handlers(logger: MMLogger) -> list[logging.StreamHandler]:
    """Return the handlers of a logger that write to the screen and not to a file."""
    streams = (handler for handler in logger.handlers if isinstance(handler, logging.StreamHandler))
    return [handler for handler in streams if not isinstance(handler, logging.FileHandler)]


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Let Ctrl-C in the block take effect at its end."""
    if not _is_main_thread():  # Ctrl-C does not interrupt other threads
        yield
        return
    came = []
    handler = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class _Above:
    """A stream whose text appears above the bars."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> None:
        if text.strip():
            self._console.print(text.rstrip('\n'), markup=False, highlight=False, soft_wrap=True)

    def flush(self) -> None:
        """Do nothing: the console writes at once."""
