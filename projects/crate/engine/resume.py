"""Find the checkpoint to resume from."""

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from ..checkpoints.read import read_checkpoint
from ..errors import UserError
from ..files import printable
from .training_state import saved_seed

# Under this key a prepared config has the settings that were its own before it was told to resume.
START = 'before_resume'


def resume_from(cfg: Config, resume: str) -> None:
    """Point the config at the checkpoint, and give the run the seed of the checkpoint.

    mmengine reads the seed after it has built the sampler: a run that drew its seed would continue with
    another order of samples.

    Args:
        cfg: Config that is changed in place.
        resume: Path of a checkpoint, or 'auto': the last one of the work folder, if any.

    Raises:
        UserError: The file cannot be read, is no checkpoint of a training, or the pointer to it is damaged.
    """
    path = _latest(cfg) if resume == 'auto' else resume
    if path is None:
        print_log(f'resume: no checkpoint in {printable(cfg.work_dir)}, a new run starts', logger='current')
        cfg.resume = False
        return
    cfg[START] = dict(resume=False, load_from=cfg.get('load_from'))
    cfg.resume, cfg.load_from = True, path
    checkpoint = check_checkpoint(cfg, path)
    if checkpoint is None:  # mmengine reads the seed
        return
    if (seed := saved_seed(checkpoint, path)) is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)


def check_checkpoint(cfg: Config, path: str):
    """Return the content of a file; None for a URL, and for a folder where a strategy writes folders.

    Raises:
        UserError: The file cannot be read.
    """
    return None if '://' in path or ('strategy' in cfg and Path(path).is_dir()) else read_checkpoint(path)


def last_checkpoint(work_dir: Path) -> Path:
    """Return the file that ``last_checkpoint`` names, in the folder of the run."""
    return work_dir / Path(os.fsdecode((work_dir / 'last_checkpoint').read_bytes()).strip()).name


def _latest(cfg: Config) -> str | None:
    """Return the path in ``last_checkpoint``, or of the file of that name in this run's folder if there is one.

    The run may be a copy of another run: then it continues from its own files.
    """
    pointer = Path(cfg.work_dir, 'last_checkpoint')
    if not pointer.is_file():
        return None
    path = os.fsdecode(pointer.read_bytes()).strip()
    if not path or '\0' in path:
        raise UserError(f'{pointer} names no file; give one with --resume PATH')
    elsewhere = (cfg.default_hooks.get('checkpoint') or {}).get('out_dir')
    folder = Path(elsewhere, Path(cfg.work_dir).absolute().name) if elsewhere else Path(cfg.work_dir)
    own = folder / Path(path).name
    return path if '://' in path or not own.exists() else str(own)
