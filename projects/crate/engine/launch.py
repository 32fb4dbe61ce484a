"""From a config of mmpretrain, mmdet or mmseg to a runner: what ``tools/train.py`` and ``tools/test.py`` do.

A config is used as it is. What the three libraries' own tools add to it is added here for all of them, and stock parts
are exchanged for parts of this project that do the same and more: loops that resume within an epoch, checkpoints that
survive a kill, and what a CPU needs.
"""

import copy
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import OPTIMIZERS, RUNNERS, DefaultScope
from mmengine.runner import Runner

from ..checkpoints.read import read_all_files, read_checkpoint
from ..errors import UserError, explain
from ..evaluation.coco_file import check_names, read_coco
from . import disk
from .distributed import init_cpu_processes
from .mistakes import building, reading
from .progress import ProgressBarHook
from .resumed import check_state
from .strides_hook import CheckStridesHook
from .weights_hook import WholeWeightsHook

# stock type -> ours
LOOPS = {
    'EpochBasedTrainLoop': 'ResumableEpochBasedTrainLoop',
    'IterBasedTrainLoop': 'ResumableIterBasedTrainLoop',
}
HOOKS = {
    'CheckpointHook': 'AtomicCheckpointHook',
    'LoggerHook': 'MainProcessLoggerHook',
}
# Under these keys a prepared config has settings that were its own: before it was told to resume, and before this
# machine without a GPU changed them.
START, ELSEWHERE = 'before_resume', 'on_other_machines'
# type of the visualisation hook -> how it is told to draw into a folder
VISUALISATION = {
    'VisualizationHook': lambda folder: dict(enable=True, out_dir=folder),
    'DetVisualizationHook': lambda folder: dict(draw=True, test_out_dir=folder),
    'SegVisualizationHook': lambda folder: dict(draw=True),
}


def flush_tiny_numbers() -> None:
    """Let this process take numbers below 1e-38 for 0; for tools, as it concerns everything that runs in it.

    A processor computes with them in microcode, and a sharp softmax is full of them: late steps of a ViT took up to
    four times as long. Threads take the setting over from the one that starts them: call it before torch does.
    """
    torch.set_flush_denormal(True)


def read_config(path: str, options: Sequence[str] = (), work_dir: str | None = None, launcher: str = 'none') -> Config:
    """The config in ``path`` with the options of the command line, ready to be prepared for training or testing.

    Args:
        path: The config file, of any of the libraries.
        options: ``key=value`` pairs, as ``--cfg-options`` takes them.
        work_dir: Folder for logs and checkpoints; else the config's own, else ``work_dirs/{name of the file}``.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'. On a machine without a GPU the process group is joined here.

    Raises:
        UserError: No such file, a mistake in it, or an option that is not a pair or does not fit the config.
    """
    if not Path(path).is_file():
        raise UserError(f'config not found: {path}')
    with reading(path):
        cfg = Config.fromfile(path)
    _merge(cfg, options)
    cfg.launcher = launcher
    if 'strategy' in cfg and type_name(cfg.strategy.type) == 'FSDPStrategy':
        cfg.strategy.type = 'ResumableFSDPStrategy'
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(path).stem))
    if launcher != 'none' and get_device() == 'cpu':
        init_cpu_processes(launcher)
        _use_cpu_wrappers(cfg)
    return cfg


def _merge(cfg: Config, options: Sequence[str]) -> None:
    if bad := [option for option in options if '=' not in option]:
        raise UserError(f'--cfg-options takes KEY=VALUE pairs, not {" ".join(bad)}')
    for option in options:
        key, text = option.split('=', maxsplit=1)
        try:
            cfg.merge_from_dict({key: _value(text)})
        except (AssertionError, LookupError, TypeError) as error:  # mmengine: brackets; keys that do not fit the config
            raise UserError(f'--cfg-options {option}: {explain(error)}') from error


def _value(text: str) -> Any:
    """Return what mmengine makes of the text, but keep paths: it removes spaces and quotes, and splits at commas."""
    if '/' in text and os.path.exists(text):  # noqa: PTH110  # pathlib raises where a name is too long
        return text
    if not re.search(r'[,(\[]', text):
        return DictAction._parse_int_float_bool(text.strip('\'"'))
    return DictAction._parse_iterable(text)


def prepare_training(
    cfg: Config, resume: str | None = None, amp: bool = False, validate: bool = True, scale_lr: bool = False
) -> None:
    """Change ``cfg`` in place into what will be trained.

    Args:
        cfg: What :func:`read_config` returned.
        resume: 'auto' goes on from the last checkpoint in the work folder and starts a new run where there is none; a
            path goes on from there; None starts a new run.
        amp: Mixed precision: mmengine's ``AmpOptimWrapper`` on a GPU, bfloat16 without a scaler on a CPU.
        validate: False drops the validation.
        scale_lr: Scale the learning rate by the ratio of the real batch and ``auto_scale_lr.base_batch_size``.

    Raises:
        UserError: What is asked for needs something that the config or the work folder does not have.
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
    _choose_precision(cfg, amp)
    _exchange_loop(cfg)
    _exchange_hooks(cfg)
    _exchange_transforms(cfg)
    _check_data_sets(cfg.get('train_dataloader'))
    _check_data_sets(cfg.get('val_dataloader'))
    _check_annotation_files(cfg.get('val_evaluator'))
    _complete_dataloaders(cfg)
    if resume is not None:
        _resume(cfg, resume)
    elif cfg.get('load_from'):
        _check_checkpoint(cfg, cfg.load_from)


def prepare_testing(
    cfg: Config, checkpoint: str, out: str | None = None, show_dir: str | None = None, tta: bool = False
) -> None:
    """Change ``cfg`` in place into what will be tested.

    Args:
        cfg: What :func:`read_config` returned.
        checkpoint: Path or URL of the weights.
        out: A ``.pkl`` file for all predictions.
        show_dir: Folder for pictures of the predictions.
        tta: Test-time augmentation by the config's ``tta_model`` and ``tta_pipeline``.

    Raises:
        UserError: What is asked for needs something that the config does not have.
    """
    if cfg.get('test_cfg') is None or cfg.get('test_dataloader') is None:
        raise UserError('this config has no test_dataloader: it cannot be tested')
    _check_checkpoint(cfg, checkpoint)
    cfg.load_from, cfg.resume = checkpoint, False
    _exchange_hooks(cfg)
    if tta:
        _use_tta(cfg)
    if show_dir is not None:
        _draw_into(cfg, str(Path(show_dir).resolve()))
    if out is not None:
        evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, Sequence) else [cfg.test_evaluator]
        dump = 'mmdet.DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
        cfg.test_evaluator = [*evaluators, dict(type=dump, out_file_path=out)]
    _exchange_transforms(cfg)
    _check_data_sets(cfg.get('test_dataloader'))
    _check_annotation_files(cfg.get('test_evaluator'))
    _complete_dataloaders(cfg)


def build_runner(cfg: Config) -> Runner:
    """The runner that the config asks for: mmengine's ``Runner`` unless it has a ``runner_type``.

    It checks that a pyramid and its heads agree, takes only checkpoints that fill the model, and shows progress bars on
    a terminal. Parts under the config's ``load_from_except`` may stay random when a training starts from ``load_from``.
    The config that it writes into the work folder starts a new run, also where this run goes on from a checkpoint, and
    has nothing of what a machine without a GPU needs.

    Raises:
        UserError: The work folder cannot be written.
    """
    read_all_files()
    cfg = copy.deepcopy(cfg)
    checkpoint, resume = cfg.get('load_from'), cfg.get('resume', False)
    cfg.merge_from_dict(cfg.pop(START, {}))
    elsewhere = cfg.pop(ELSEWHERE, {})
    disk.check_folder(cfg.work_dir)
    with building(cfg), disk.write_errors(cfg.work_dir):
        if 'runner_type' in cfg:
            cfg.env_cfg = cfg.get('env_cfg') or {}  # FlexibleRunner cannot do without
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        if elsewhere:
            _restore(runner, elsewhere)
    runner._load_from, runner._resume = checkpoint, resume
    # Not by the config: a run of the config that is written into the work folder would have them twice.
    _add_hook(runner, CheckStridesHook)
    if sys.stderr.isatty():
        _add_hook(runner, ProgressBarHook)
    optional = cfg.get('load_from_except') or []
    runner.register_hook(WholeWeightsHook([optional] if isinstance(optional, str) else optional))
    return runner


@contextmanager
def running(runner: Runner, then: str = '') -> Iterator[None]:
    """Give the screen back after a run, however it ends; and say in one line what could not be written.

    Args:
        runner: What :func:`build_runner` returned.
        then: What to do when it can be written again.

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


def model_cfg(cfg: Config) -> dict:
    """The model as a runner builds it: with the config's ``data_preprocessor``, unless it has its own."""
    model = dict(cfg.model)
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


def _add_hook(runner: Runner, kind: type[Hook]) -> None:
    if not any(isinstance(hook, kind) for hook in runner.hooks):
        runner.register_hook(kind())


def _keep(cfg: Config, *keys: str) -> None:
    """Keep settings for the config that is written, before they are changed for this machine."""
    kept = {key: copy.deepcopy(cfg.get(key)) for key in keys}
    cfg[ELSEWHERE] = kept | (cfg.get(ELSEWHERE) or {})


def _restore(runner: Runner, settings: dict) -> None:
    """Give settings back to the config of a runner, which is built by now: checkpoints and the work folder have it."""
    for key, value in settings.items():
        if value is None:
            runner.cfg.pop(key, None)
        else:
            runner.cfg[key] = value
    runner.dump_config()


def _use_cpu_wrappers(cfg: Config) -> None:
    _keep(cfg, 'sync_bn', 'strategy', 'model_wrapper_cfg')
    cfg.sync_bn = None
    strategy = cfg.get('strategy') or ConfigDict(type='')
    if type_name(strategy.type) == 'DDPStrategy':
        strategy.model_wrapper = _cpu_wrapper(cfg, strategy.get('model_wrapper') or cfg.get('model_wrapper_cfg'))
    cfg.model_wrapper_cfg = _cpu_wrapper(cfg, cfg.get('model_wrapper_cfg'))


def _cpu_wrapper(cfg: Config, wrapper: dict | None) -> dict:
    """Return a config of DDP on the CPU, with the settings that the user gave; another type of wrapper stays."""
    wrapper = dict(wrapper or {})
    if type_name(wrapper.get('type', 'MMDistributedDataParallel')) != 'MMDistributedDataParallel':
        return wrapper
    wrapper['type'] = 'CPUDistributedDataParallel'
    return dict(broadcast_buffers=False, find_unused_parameters=cfg.get('find_unused_parameters', False)) | wrapper


def _check_optimizer(cfg: Config) -> None:
    """Name an optimiser that there is not; mmengine says 'None is not a callable object'."""
    kind = (cfg.optim_wrapper.get('optimizer') or {}).get('type')
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope'))
    with scope, OPTIMIZERS.switch_scope_and_registry(None) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise UserError(f'{cfg.filename}: {kind} is no optimiser: change optim_wrapper.optimizer.type')


def _choose_precision(cfg: Config, amp: bool) -> None:
    wrapper = cfg.optim_wrapper
    kind = type_name(wrapper.get('type', 'OptimWrapper'))
    if amp and kind not in ('OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper'):
        raise UserError(f'--amp works with optim_wrapper.type OptimWrapper, not with {kind}')
    if get_device() == 'cpu' and (kind == 'AmpOptimWrapper' or (amp and kind == 'OptimWrapper')):
        if amp and kind == 'OptimWrapper':
            wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
        _keep(cfg, 'optim_wrapper')
        print_log('mixed precision on the CPU: bfloat16 autocast without a loss scaler', logger='current')
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
        wrapper.type = 'AutocastOptimWrapper'
        if cfg.get('default_scope') == 'mmdet':
            wrapper.setdefault('parts', [part for part in ('backbone', 'neck') if part in cfg.model])
    elif amp and kind == 'OptimWrapper':
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')


def _exchange_loop(cfg: Config) -> None:
    """Stock train loops become resumable ones; any other loop stays."""
    loop = cfg.train_cfg
    if 'type' not in loop:
        loop.type = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
    loop.type = LOOPS.get(type_name(loop.type), loop.type)


def _exchange_hooks(cfg: Config) -> None:
    """Stock hooks become ours, also those that mmengine adds where a config has none."""
    cfg.default_hooks = cfg.get('default_hooks') or ConfigDict()
    cfg.default_hooks.setdefault('checkpoint', dict(type='CheckpointHook'))
    cfg.default_hooks.setdefault('logger', dict(type='LoggerHook'))
    for hook in [*cfg.default_hooks.values(), *(cfg.get('custom_hooks') or [])]:
        if isinstance(hook, dict):
            hook['type'] = HOOKS.get(type_name(hook['type']), hook['type'])


def _exchange_transforms(cfg: Config) -> None:
    """Exchange stock transforms that load for ours, which refuse what does not belong together.

    mmseg's ``LoadAnnotations`` becomes ``LoadLabelMap``. mmdet's images are loaded by ``LoadImageOrSkip``, which
    compares their size with that of the annotation file; only training skips damaged ones.
    """
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get('default_scope') in ('mmdet', 'mmseg'):
            _exchange_loading(cfg.get(field), cfg.default_scope, skip=field == 'train_dataloader')


def _exchange_loading(value: object, library: str, skip: bool) -> None:
    """Exchange the transforms in place, at any depth of a config."""
    if isinstance(value, dict):
        kind = type_name(value.get('type') or '')
        if (library, kind) == ('mmseg', 'LoadAnnotations') and value.get('imdecode_backend', 'pillow') == 'pillow':
            backend_args = value.get('backend_args')
            value.clear()
            value.update(type='LoadLabelMap', backend_args=backend_args)
        elif (library, kind) == ('mmdet', 'LoadImageFromFile') and 'file_client_args' not in value:
            value.update(type='LoadImageOrSkip', skip=skip)
    if isinstance(value, dict | list | tuple):
        for child in value.values() if isinstance(value, dict) else value:
            _exchange_loading(child, library, skip)


def _check_annotation_files(evaluators: Config | Sequence | None) -> None:
    """Check the COCO files of metrics before anything is built, and not after all images."""
    for metric in evaluators if isinstance(evaluators, list | tuple) else [evaluators or {}]:
        kind, path = type_name(metric.get('type', '')), metric.get('ann_file')
        if kind in ('CocoMetric', 'ClassAgnosticCocoMetric') and path and Path(path).is_file():
            read_coco(path, masks='segm' in metric.get('metric', 'bbox'), needs_iscrowd=kind == 'CocoMetric')


def _check_data_sets(value: object) -> None:
    """Check the COCO files of mmdet's data sets at any depth of a config; mmdet ends in a KeyError in the middle."""
    if isinstance(value, dict):
        path = os.path.join(value.get('data_root') or '', value.get('ann_file') or '')  # noqa: PTH118 (or a URL)
        if type_name(value.get('type') or '') == 'CocoDataset' and Path(path).is_file():
            needs_masks = any(step.get('with_mask') for step in value.get('pipeline') or () if isinstance(step, dict))
            check_names(read_coco(path, masks=needs_masks), path)
    if isinstance(value, dict | list | tuple):
        for child in value.values() if isinstance(value, dict) else value:
            _check_data_sets(child)


def _complete_dataloaders(cfg: Config) -> None:
    """Add what the configs of mmpretrain leave to its tools."""
    if cfg.get('default_scope') != 'mmpretrain':
        return
    for field in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(field)
        if isinstance(loader, dict):
            loader.setdefault('pin_memory', torch.cuda.is_available())
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('collate_fn', dict(type='default_collate'))


def _resume(cfg: Config, resume: str) -> None:
    """Point the config at the checkpoint, and give the run the seed of the checkpoint.

    mmengine reads the seed after it has built the sampler: a run that drew its seed would go on with another order of
    samples.
    """
    path = _latest(cfg) if resume == 'auto' else resume
    if path is None:
        print_log(f'resume: no checkpoint in {cfg.work_dir}, a new run starts', logger='current')
        cfg.resume = False
        return
    cfg[START] = dict(resume=False, load_from=cfg.get('load_from'))
    cfg.resume, cfg.load_from = True, path
    seed = _saved_seed(cfg, path)
    if seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)


def _latest(cfg: Config) -> str | None:
    """Return the path in ``last_checkpoint``, or of the file of that name in this run's folder if there is one.

    The run may be a copy of another: then it goes on from its own files.
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


def _check_checkpoint(cfg: Config, path: str):
    """What a file holds; None for a URL, and for a folder where a strategy writes folders."""
    return None if '://' in path or ('strategy' in cfg and Path(path).is_dir()) else read_checkpoint(path)


def _saved_seed(cfg: Config, path: str) -> int | None:
    checkpoint = _check_checkpoint(cfg, path)
    if checkpoint is None:  # mmengine reads the seed
        return None
    check_state(checkpoint, path)
    return checkpoint['meta'].get('seed')


def _use_tta(cfg: Config) -> None:
    for key in ('tta_model', 'tta_pipeline'):
        if key not in cfg:
            raise UserError(f'--tta needs {key} in the config')
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline


def _draw_into(cfg: Config, folder: str) -> None:
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    kind = type_name(hook.get('type', 'no hook'))
    if kind not in VISUALISATION:
        raise UserError(
            f'--show-dir needs default_hooks.visualization of type {" or ".join(VISUALISATION)}, not {kind}'
        )
    hook.update(VISUALISATION[kind](folder))
    if kind == 'SegVisualizationHook':
        cfg.visualizer.save_dir = folder


def type_name(kind: str | type) -> str:
    """'OptimWrapper' for the type itself, its name, and its name with a scope."""
    return kind.rsplit('.', 1)[-1] if isinstance(kind, str) else kind.__name__
