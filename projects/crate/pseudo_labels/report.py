"""What a person sees of a long run."""

from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

LINE_INTERVAL = 30.0  # seconds
RATE_PERIOD = 600.0  # seconds that the rate is a mean of: batches may take long


class Report:
    """A progress bar with images per second and remaining time on a terminal; elsewhere a line twice a minute.

    Work of an earlier run counts as done, and not as done quickly. Use it as a context around the work.

    Args:
        name: What each line starts with.
        shows_progress: False for processes of which only messages are to be seen.
    """

    def __init__(self, name: str, shows_progress: bool = True) -> None:
        self._name = name
        self._console = Console(stderr=True)
        self._prints_lines = shows_progress and not self._console.is_terminal
        self._progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
            console=self._console,
            disable=not shows_progress or self._prints_lines,
            speed_estimate_period=RATE_PERIOD,
        )
        self._printed = 0.0

    def __enter__(self) -> 'Report':
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(f'{self._name}: {message}', markup=False, highlight=False, soft_wrap=True)

    def begin(self, total: int, done: int) -> None:
        """Start to count.

        Args:
            total: Number of images.
            done: How many of them were done by an earlier run.
        """
        self._progress.start()
        task = self._progress.add_task(self._name, total=total, completed=done)
        self._progress.advance(task, 0)  # the rate counts from now, also the images of the first batch
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
        self.say(f'{task.completed:.0f}/{task.total:.0f} images, {format_rate(task)}, {left} left')


def format_rate(task: Task) -> str:
    """'12.3 images/s', of the time since the task began and no longer ago than ``RATE_PERIOD``."""
    return '? images/s' if task.speed is None else f'{task.speed:.1f} images/s'


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(format_rate(task))
