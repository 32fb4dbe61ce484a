"""Commands of this repository, run one after the other by a tool."""

import os
import shlex
import subprocess
import sys
import time

import _cli


class Commands:
    """Runs tools of this repository with their output on the screen; ``name`` is the tool that runs them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.typed = []  # commands as a user would type them, also commands that were already done

    def run(self, tool: str, *arguments: object, is_done: bool = False) -> None:
        """Run a tool unless it is done; raise UserError if it fails."""
        words = ['python', tool, *map(str, arguments)]
        data = f'CRATE_DATA={shlex.quote(os.environ["CRATE_DATA"])} ' if 'CRATE_DATA' in os.environ else ''
        self.typed.append(data + shlex.join(words))
        if is_done:
            return
        print(f'\n$ {self.typed[-1]}', flush=True)
        started = time.monotonic()
        if subprocess.run([sys.executable, *words[1:]]).returncode:
            raise _cli.mistake(f'`{self.typed[-1]}` failed: see above')
        print(f'{self.name}: {(time.monotonic() - started) / 60:.1f} minutes', flush=True)
