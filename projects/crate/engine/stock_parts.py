"""Exchange stock parts of a config for parts of this project that do the same and more.

Train loops resume within an epoch, checkpoints survive a kill, and loading refuses files that do not fit each other. A
CPU gets the settings that it needs.
"""

import copy
from collections.abc import Iterator

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.logging import print_log

from ..errors import UserError
from ..registration import LIBRARIES

# stock type -> ours
LOOPS = {
    'EpochBasedTrainLoop': 'ResumableEpochBasedTrainLoop',
    'IterBasedTrainLoop': 'ResumableIterBasedTrainLoop',
}
HOOKS = {
    'CheckpointHook': 'AtomicCheckpointHook',
    'LoggerHook': 'MainProcessLoggerHook',
}
METRICS = {
    'CocoMetric': 'OptionalCrowdCocoMetric',
    'IoUMetric': 'MatchedIoUMetric',
}
# Under this key a prepared config has settings as they were before an exchange: for a machine without a GPU, and of the
# transforms that load test images. The written config has them again.
ELSEWHERE = 'on_other_machines'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def type_name(kind: str | type) -> str:
    """Return 'OptimWrapper' for the type itself, its name, and its name with a scope."""
    return kind.rsplit('.', 1)[-1] if isinstance(kind, str) else kind.__name__


def walk(value: object, key: str) -> Iterator[tuple[str, dict]]:
    """Yield (dotted key, dict) of every dict in a part of a config, at any depth, outer ones first."""
    if isinstance(value, dict):
        yield key, value
    if isinstance(value, dict | list | tuple):
        for name, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from walk(child, f'{key}.{name}')


def exchange_loop(cfg: Config) -> None:
    """Make a stock train loop resumable; any other loop stays."""
    loop = cfg.train_cfg
    if 'type' not in loop:
        loop.type = 'EpochBasedTrainLoop' if loop.pop('by_epoch') else 'IterBasedTrainLoop'
    loop.type = LOOPS.get(type_name(loop.type), loop.type)


def exchange_hooks(cfg: Config) -> None:
    """Exchange stock hooks, also the ones that mmengine adds if a config has none."""
    cfg.default_hooks = cfg.get('default_hooks') or ConfigDict()
    cfg.default_hooks.setdefault('checkpoint', dict(type='CheckpointHook'))
    cfg.default_hooks.setdefault('logger', dict(type='LoggerHook'))
    for hook in [*cfg.default_hooks.values(), *(cfg.get('custom_hooks') or [])]:
        if isinstance(hook, dict):
            hook['type'] = HOOKS.get(type_name(hook['type']), hook['type'])


def exchange_transforms(cfg: Config) -> None:
    """Exchange stock transforms that load.

    mmseg's ``LoadAnnotations`` becomes ``LoadLabelMap``, which refuses labels that the head has no class for. Images
    are loaded by ``LoadImageOrSkip``, which names damaged ones, never waits for a pipe, and compares the size with that
    of an annotation file of mmdet. Only training skips damaged images. The written config and the checkpoints keep the
    stock transforms of the tests: the inference functions of the libraries look for them.
    """
    if cfg.get('default_scope') not in LIBRARIES:
        return
    if 'test_dataloader' in cfg:
        _keep(cfg, 'test_dataloader')
    labels = _labels(cfg)
    for field in LOADERS:
        for _, part in walk(cfg.get(field), field):
            _exchange_loading(part, cfg.default_scope, labels, skip=field == 'train_dataloader')


def _labels(cfg: Config) -> dict:
    """Return the number of classes and the ignored label of a segmentor's head, as arguments of ``LoadLabelMap``."""
    model = cfg.get('model') or {}
    head = model.get('module', model).get('decode_head') or {}  # module: within test-time augmentation
    head = head[-1] if isinstance(head, list | tuple) else head
    return {key: head[key] for key in ('num_classes', 'ignore_index') if key in head}


def _exchange_loading(part: dict, library: str, labels: dict, skip: bool) -> None:
    """Exchange a transform that loads, in place."""
    kind = type_name(part.get('type') or '')
    if (library, kind) == ('mmseg', 'LoadAnnotations') and part.get('imdecode_backend', 'pillow') == 'pillow':
        backend_args = part.get('backend_args')
        part.clear()
        part.update(type='LoadLabelMap', backend_args=backend_args, **labels)
    elif kind == 'LoadImageFromFile' and not {'file_client_args', 'ignore_empty'} & part.keys():
        part.update(type='LoadImageOrSkip', skip=skip)


def exchange_metrics(cfg: Config) -> None:
    """Exchange mmdet's ``CocoMetric``, which needs ``iscrowd``, and mmseg's ``IoUMetric``, which names no file."""
    for field in ('val_evaluator', 'test_evaluator'):
        metrics = cfg.get(field)
        for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
            if isinstance(metric, dict) and 'type' in metric:
                metric['type'] = METRICS.get(type_name(metric['type']), metric['type'])


def complete_dataloaders(cfg: Config) -> None:
    """Add the settings that the configs of mmpretrain leave to its tools; name images that cannot be stacked."""
    library = cfg.get('default_scope')
    for field in LOADERS:
        loader = cfg.get(field)
        if not isinstance(loader, dict):
            continue
        if library == 'mmpretrain':
            loader.setdefault('pin_memory', torch.cuda.is_available())
            loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
            loader.setdefault('collate_fn', dict(type='default_collate'))
        elif library == 'mmseg' and field != 'train_dataloader':  # it pads training images
            loader.setdefault('collate_fn', dict(type='collate_one_size', stack=False))
        collate = loader.get('collate_fn')
        if isinstance(collate, dict) and type_name(collate.type) == 'default_collate':
            collate.type = 'collate_one_size'


def exchange_norms(cfg: Config) -> None:
    """Make mmcv's MMSyncBN torch's SyncBN in a run of one process, where it cannot be built; mmengine makes that BN."""
    if cfg.get('launcher', 'none') == 'none':
        for _, part in walk(cfg.get('model'), 'model'):
            if part.get('type') == 'MMSyncBN':
                part.type = 'SyncBN'


def choose_precision(cfg: Config, amp: bool) -> None:
    """Choose the optimiser wrapper of mixed precision; on a CPU bfloat16 without a loss scaler.

    Raises:
        UserError: ``amp``, and the config's wrapper has a precision of its own.
    """
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
            parts = [part for part in ('backbone', 'neck') if part in cfg.model]
            if not wrapper.setdefault('parts', parts):
                raise UserError(
                    'mixed precision on a CPU: the model has no backbone of its own; name the parts that run in '
                    "bfloat16, for example optim_wrapper.parts=['student.backbone','student.neck']"
                )
    elif amp and kind == 'OptimWrapper':
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')


def use_cpu_wrappers(cfg: Config) -> None:
    """Let several processes train on CPUs: DDP without a device number, and no SyncBatchNorm."""
    _keep(cfg, 'sync_bn', 'strategy', 'model_wrapper_cfg')
    cfg.sync_bn = None
    strategy = cfg.get('strategy') or ConfigDict(type='')
    if type_name(strategy.type) == 'DDPStrategy':
        strategy.model_wrapper = _cpu_wrapper(cfg, strategy.get('model_wrapper') or cfg.get('model_wrapper_cfg'))
    cfg.model_wrapper_cfg = _cpu_wrapper(cfg, cfg.get('model_wrapper_cfg'))


def _keep(cfg: Config, *keys: str) -> None:
    """Keep settings for the config that is written, before they are changed for this machine."""
    kept = {key: copy.deepcopy(cfg.get(key)) for key in keys}
    cfg[ELSEWHERE] = kept | (cfg.get(ELSEWHERE) or {})


def _cpu_wrapper(cfg: Config, wrapper: dict | None) -> dict:
    """Return a config of DDP on the CPU, with the settings that the user gave; another type of wrapper stays."""
    wrapper = dict(wrapper or {})
    if type_name(wrapper.get('type', 'MMDistributedDataParallel')) != 'MMDistributedDataParallel':
        return wrapper
    wrapper['type'] = 'CPUDistributedDataParallel'
    return dict(broadcast_buffers=False, find_unused_parameters=cfg.get('find_unused_parameters', False)) | wrapper
