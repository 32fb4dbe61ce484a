"""Build a runner from a config of mmpretrain, mmdet or mmseg, for ``tools/train.py`` and ``tools/test.py``."""

import copy
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import OPTIMIZERS, RUNNERS, DefaultScope
from mmengine.runner import Runner
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from .. import compat
from ..checkpoints.read import CheckpointError, check_file, read_all_files
from ..errors import UserError
from ..evaluation.coco_file import check_names, read_coco
from . import disk, stock_parts
from .config import model_cfg, read_config  # noqa: F401  # callers take them from here, too
from .mistakes import building
from .pretrained_hook import CheckPretrainedHook
from .progress import ProgressBarHook
from .resume import START, check_checkpoint, resume_from
from .schedulers import drop_late_schedulers
from .stock_parts import type_name, walk
from .strides_hook import CheckStridesHook
from .weights_hook import WholeWeightsHook

# type of the visualisation hook -> the settings with which it draws into a folder
VISUALISATION = {
    'VisualizationHook': lambda folder: dict(enable=True, out_dir=folder),
    'DetVisualizationHook': lambda folder: dict(draw=True, test_out_dir=folder),
    'SegVisualizationHook': lambda folder: dict(draw=True),
}


def flush_tiny_numbers() -> None:
    """Let this process take numbers below 1e-38 for 0. Only tools call this: it concerns the whole process.

    A processor computes with such numbers in microcode, and a sharp softmax is full of them: late steps of a ViT took
    up to four times as long. Threads inherit the setting from the thread that starts them: call it first.
    """
    torch.set_flush_denormal(True)


def prepare_training(
    cfg: Config, resume: str | None = None, amp: bool = False, validate: bool = True, scale_lr: bool = False
) -> None:
    """Prepare ``cfg`` for a training, in place.

    Args:
        cfg: Config that :func:`read_config` returned.
        resume: 'auto': continue from the last checkpoint in the work folder, or start if there is none. A path:
            continue from this checkpoint. None: start a new run.
        amp: Use mixed precision: mmengine's ``AmpOptimWrapper`` on a GPU, bfloat16 without a scaler on a CPU.
        validate: False: train without validation.
        scale_lr: Scale the learning rate by the ratio of the real batch and ``auto_scale_lr.base_batch_size``.

    Raises:
        UserError: The config or the work folder lacks something that an argument needs.
    """
    if cfg.get('train_cfg') is None:
        raise UserError('this config has no train_cfg: it cannot be trained')
    if not validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise UserError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
        cfg.auto_scale_lr.enable = True
    _check_optimizer(cfg)
    _check_clipping(cfg)
    drop_late_schedulers(cfg)
    _check_pretrained(cfg)
    stock_parts.choose_precision(cfg, amp)
    stock_parts.exchange_loop(cfg)
    _prepare_data(cfg, 'train', 'val')
    if resume is not None:
        resume_from(cfg, resume)
    elif cfg.get('load_from'):
        check_checkpoint(cfg, cfg.load_from)


def prepare_testing(
    cfg: Config, checkpoint: str, out: str | None = None, show_dir: str | None = None, tta: bool = False
) -> None:
    """Prepare ``cfg`` for a test, in place.

    Args:
        cfg: Config that :func:`read_config` returned.
        checkpoint: Path or URL of the weights.
        out: ``.pkl`` file for all predictions.
        show_dir: Folder for pictures of the predictions.
        tta: Test-time augmentation by the config's ``tta_model`` and ``tta_pipeline``.

    Raises:
        UserError: The config lacks something that an argument needs.
    """
    if cfg.get('test_cfg') is None or cfg.get('test_dataloader') is None:
        raise UserError('this config has no test_dataloader: it cannot be tested')
    check_checkpoint(cfg, checkpoint)
    cfg.load_from, cfg.resume = checkpoint, False
    if tta:
        _use_tta(cfg)
    if show_dir is not None:
        _draw_into(cfg, str(Path(show_dir).resolve()))
    if out is not None:
        evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, Sequence) else [cfg.test_evaluator]
        dump = 'mmdet.DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
        cfg.test_evaluator = [*evaluators, dict(type=dump, out_file_path=out)]
    _prepare_data(cfg, 'test')


def build_runner(cfg: Config) -> Runner:
    """Build the runner that the config asks for: mmengine's ``Runner`` unless it has a ``runner_type``.

    It checks that a pyramid and its heads agree, takes only checkpoints that fill the model, and shows progress bars on
    a terminal. Parts under the config's ``load_from_except`` may stay random when a training starts from ``load_from``.
    The config in the work folder starts a new run, even if this run continues from a checkpoint. It has no
    settings for machines without a GPU.

    Raises:
        UserError: The work folder cannot be written, or the seed is no seed.
    """
    read_all_files()
    _check_seed(cfg)
    cfg = copy.deepcopy(cfg)
    checkpoint, resume = cfg.get('load_from'), cfg.get('resume', False)
    cfg.merge_from_dict(cfg.pop(START, {}))
    elsewhere = cfg.pop(stock_parts.ELSEWHERE, {})
    disk.check_folder(cfg.work_dir)
    with building(cfg), disk.write_errors(cfg.work_dir):
        if 'runner_type' in cfg:
            cfg.env_cfg = cfg.get('env_cfg') or {}  # FlexibleRunner cannot do without
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        if elsewhere:
            _restore(runner, elsewhere)
    compat.paste_masks_beside_images()
    runner._load_from, runner._resume = checkpoint, resume
    # Not by the config: a run of the config that is written into the work folder would have them twice.
    _add_hook(runner, CheckStridesHook)
    _add_hook(runner, CheckPretrainedHook)
    if sys.stderr.isatty():
        _add_hook(runner, ProgressBarHook)
    optional = cfg.get('load_from_except') or []
    runner.register_hook(WholeWeightsHook([optional] if isinstance(optional, str) else optional))
    return runner


@contextmanager
def running(runner: Runner, then: str = '') -> Iterator[None]:
    """Give the screen back after a run, however it ends; and say in one line what could not be written.

    Args:
        runner: Runner that :func:`build_runner` returned.
        then: Advice for the time after the disk can be written again.

    Raises:
        UserError: The disk is full or must not be written.
    """
    with disk.write_errors(runner.work_dir, then):
        try:
            yield
        finally:
            for hook in runner.hooks:
                if isinstance(hook, ProgressBarHook):
                    hook.close()


def _restore(runner: Runner, settings: dict) -> None:
    """Give settings back to the config of a built runner: its checkpoints and its work folder hold that config."""
    for key, value in settings.items():
        if value is None:
            runner.cfg.pop(key, None)
        else:
            runner.cfg[key] = value
    runner.dump_config()


def _add_hook(runner: Runner, kind: type[Hook]) -> None:
    if not any(isinstance(hook, kind) for hook in runner.hooks):
        runner.register_hook(kind())


def _check_optimizer(cfg: Config) -> None:
    """Name an optimiser that does not exist; mmengine says 'None is not a callable object'."""
    kind = (cfg.optim_wrapper.get('optimizer') or {}).get('type')
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope'))
    with scope, OPTIMIZERS.switch_scope_and_registry(None) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise UserError(f'{cfg.filename}: {kind} is no optimiser: change optim_wrapper.optimizer.type')


def _check_clipping(cfg: Config) -> None:
    """Check the arguments of gradient clipping; torch refuses them at the first step."""
    given = cfg.optim_wrapper.get('clip_grad')
    clip = {'norm': clip_grad_norm_, 'value': clip_grad_value_}
    if not isinstance(given, dict) or (kind := given.get('type', 'norm')) not in clip:  # mmengine names them
        return
    given = {key: value for key, value in given.items() if key != 'type'}
    try:
        inspect.signature(clip[kind]).bind([], **given)
    except TypeError as error:
        raise UserError(f'{cfg.filename}: optim_wrapper.clip_grad: {error}') from error
    for key, value in given.items():
        if value is not None and not isinstance(value, float | int) and (key, value) != ('norm_type', 'inf'):
            raise UserError(f'{cfg.filename}: optim_wrapper.clip_grad.{key} must be a number, not {value!r}')


def _check_pretrained(cfg: Config) -> None:
    """Check now that the files exist from which the model starts, and name the setting of a missing file."""
    given = [('model.pretrained', cfg.model.get('pretrained'))]
    for key, part in walk(cfg.model, 'model'):
        if type_name(part.get('type') or '') in ('Pretrained', 'PretrainedInit'):
            given.append((f'{key}.checkpoint', part.get('checkpoint')))
    for key, path in given:
        if not isinstance(path, str) or '://' in path:
            continue
        try:
            check_file(path)
        except CheckpointError as error:
            raise type(error)(f'{cfg.filename}: {error}; another file: --cfg-options {key}=FILE') from error


def _check_seed(cfg: Config) -> None:
    """Check the seed; NumPy does not name the setting."""
    randomness = cfg.get('randomness')
    seed = randomness.get('seed') if isinstance(randomness, dict) else None
    if seed is not None and not (isinstance(seed, Integral) and 0 <= seed < 2**32):
        raise UserError(f'{cfg.filename}: randomness.seed must be an integer from 0 to 2**32 - 1, not {seed!r}')


def _prepare_data(cfg: Config, *splits: str) -> None:
    """Exchange hooks, transforms, metrics and norms, and check COCO files now and not in the middle of the work."""
    stock_parts.exchange_hooks(cfg)
    stock_parts.exchange_transforms(cfg)
    stock_parts.exchange_metrics(cfg)
    stock_parts.exchange_norms(cfg)
    files: dict[str, set[str]] = {}  # each file once, by all that is needed of it: it may be large
    for split in splits:
        loader, evaluator = cfg.get(f'{split}_dataloader'), cfg.get(f'{split}_evaluator')
        for path, needs in (*_data_set_files(loader), *_metric_files(evaluator)):
            files.setdefault(path, set()).update(needs | ({'truth'} if split == 'train' else set()))
    for path, needs in files.items():
        content = read_coco(path, masks='masks' in needs, truth='truth' in needs)
        if 'names' in needs:
            check_names(content, path)
    stock_parts.complete_dataloaders(cfg)


def _data_set_files(loader: object) -> Iterator[tuple[str, set[str]]]:
    """Yield (COCO file, what it needs: 'masks', 'names') of mmdet's data sets at any depth of a loader's config."""
    for _, part in walk(loader, ''):
        path = os.path.join(part.get('data_root') or '', part.get('ann_file') or '')  # noqa: PTH118 (or a URL)
        if type_name(part.get('type') or '') == 'CocoDataset' and Path(path).is_file():
            steps = part.get('pipeline') or ()
            has_masks = any(step.get('with_mask') for step in steps if isinstance(step, dict))
            yield path, {'names', 'masks'} if has_masks else {'names'}


def _metric_files(metrics: object) -> Iterator[tuple[str, set[str]]]:
    """Yield (COCO file, what it needs: 'masks', 'truth') of the metrics of an evaluator."""
    for metric in metrics if isinstance(metrics, list | tuple) else [metrics or {}]:
        kind, path = type_name(metric.get('type', '')), metric.get('ann_file')
        if kind in ('OptionalCrowdCocoMetric', 'ClassAgnosticCocoMetric') and path and Path(path).is_file():
            has_masks = 'segm' in metric.get('metric', 'bbox')
            truth = set() if metric.get('format_only') else {'truth'}  # a test server has it
            yield path, truth | ({'masks'} if has_masks else set())


def _use_tta(cfg: Config) -> None:
    for key in ('tta_model', 'tta_pipeline'):
        if key not in cfg:
            raise UserError(f'--tta needs {key} in the config: see docs/training.md')
    if type_name(cfg.tta_model.type) == 'DetTTAModel' and 'mask_head' in {*cfg.model, *cfg.model.get('roi_head', {})}:
        raise UserError(
            '--tta: DetTTAModel of mmdet merges no masks, and this model has a mask_head: test without --tta'
        )
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline


def _draw_into(cfg: Config, folder: str) -> None:
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    kind = type_name(hook.get('type', 'no hook'))
    if kind not in VISUALISATION:
        kinds = ' or '.join(VISUALISATION)
        raise UserError(f'--show-dir needs default_hooks.visualization of type {kinds}, not {kind}')
    hook.update(VISUALISATION[kind](folder))
    hook.setdefault('interval', 1)  # mmseg draws one batch of 50 by default, mmpretrain one image of 5,000
    if kind == 'SegVisualizationHook':
        cfg.visualizer.save_dir = folder
        # The hook asks for the iteration of the training: mmengine would build the train loop and its data.
        cfg.train_cfg = cfg.train_dataloader = cfg.optim_wrapper = cfg.param_scheduler = None
