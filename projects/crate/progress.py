"""Show the progress of a long run."""

from datetime import timedelta

from rich import progress
from rich.console import Console
from rich.text import Text

LINE_INTERVAL = 30.0  # seconds between two lines where there is no terminal
RATE_PERIOD = 600.0  # seconds over which the rate is averaged: one batch may take long


class Progress:
    """Show a bar with images per second and remaining time on a terminal; elsewhere print a line twice a minute.

    Work of an earlier run counts as done, but not for the rate. Use it as a context around the work.

    Args:
        name: First word of each line.
        shows_progress: False: only print messages.
    """

    def __init__(self, name: str, shows_progress: bool = True) -> None:
        self._name = name
        self._console = Console(stderr=True)
        self._prints_lines = shows_progress and not self._console.is_terminal
        self._progress = progress.Progress(
            progress.TextColumn('{task.description}'),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            _RateColumn(),
            progress.TextColumn('left'),
            progress.TimeRemainingColumn(),
            console=self._console,
            disable=not shows_progress or self._prints_lines,
            speed_estimate_period=RATE_PERIOD,
        )
        self._printed = 0.0

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(f'{self._name}: {message}', markup=False, highlight=False, soft_wrap=True)

    def begin(self, total: int, done: int) -> None:
        """Start to count ``total`` images, of which an earlier run has done ``done``."""
        self._progress.start()
        task = self._progress.add_task(self._name, total=total, completed=done)
        self._progress.advance(task, 0)  # the rate counts from now, including the images of the first batch
        self._print_line()

    def advance(self, images: int) -> None:
        """Count images."""
        task = self._progress.tasks[-1]
        self._progress.advance(task.id, images)
        if task.finished or self._console.get_time() - self._printed >= LINE_INTERVAL:
            self._print_line()

    def _print_line(self) -> None:
        if not self._prints_lines:
            return
        self._printed = self._console.get_time()
        task = self._progress.tasks[-1]
        left = '?' if task.time_remaining is None else timedelta(seconds=task.time_remaining)
        self.say(f'{task.completed:.0f}/{task.total:.0f} images, {_rate(task)}, {left} left')


class _RateColumn(progress.ProgressColumn):
    def render(self, task: progress.Task) -> Text:
        return Text(_rate(task))


def _rate(task: progress.Task) -> str:
    return '? images/s' if task.speed is None else f'{task.speed:.1f} images/s'
