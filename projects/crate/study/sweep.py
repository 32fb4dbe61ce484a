"""Metrics against the layer (arXiv 2308.16271, Figure 6) or the epoch (Figure 10): evaluations that are kept."""

import contextlib
import copy
import hashlib
import io
import json
import re
import sys
import time
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.registry import MODELS, DefaultScope

from ..checkpoints.read import check_exists
from ..engine.launch import build_runner, prepare_testing, running, type_name
from ..engine.mistakes import mistakes_of
from ..engine.stock_parts import ELSEWHERE
from ..errors import UserError
from ..files import atomic, sha256
from ..models.features import all_layers

Metrics = dict[str, float]
HEADLINES = {'mAP': 'AP (from 0 to 1)', 'mIoU': 'mIoU (%)'}  # ending of a metric's name -> its label
# Settings that no metric depends on: those of read_config, and of loading images
LAUNCH_KEYS = ('work_dir', 'launcher', 'sync_bn', 'model_wrapper_cfg', ELSEWHERE)
LOADER_KEYS = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor')


def layer_sweep(
    cfg: Config, checkpoint: str | Path, out: Path, layers: Iterable[int] | None = None, label: str = ''
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the metrics of every layer's features or attention.

    A ``MaskCutDetector`` is evaluated once per layer; an ``AttentionSegmentor`` once, with all layers in one pass.

    ``cfg`` is a config of ``configs/maskcut`` or ``configs/segmentation``, from :func:`read_config`. ``layers`` are
    0-based, or negative from the end; default: all. ``out/layers.json`` keeps what was measured, see
    :class:`Measurements`. ``label`` names the model in the lines that report on the progress.

    Returns:
        (layers (n,), {metric: values (n,)}); 'coarse_seg/layer_3/mIoU' is called 'coarse_seg/mIoU'.
    """
    layers, label = _layers_of(cfg, layers), f'{label}, ' if label else ''
    measurements = Measurements(out, 'layers')

    def measure(name: str, **options: object) -> Metrics:
        changed = copy.deepcopy(cfg)
        changed.model.update(options)
        return measurements.measure(f'{label}{name}', changed, checkpoint)

    if type_name(cfg.model.type) == 'AttentionSegmentor':
        found = measure('all layers', layers=layers)
        parts = [f'/layer_{layer}/' for layer in layers]
        results = [{key.replace(part, '/'): value for key, value in found.items() if part in key} for part in parts]
    else:
        results = [measure(f'layer {layer}', layer=layer) for layer in layers]
    return np.array(layers), _table(results)


def epoch_sweep(cfg: Config, work_dir: Path, out: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return (epochs or iterations (n,), {metric: values (n,)}) of every checkpoint of a training.

    ``cfg`` is any config that can be tested with these weights, from :func:`read_config`. ``out/epochs.json`` keeps
    what was measured (:class:`Measurements`).
    """
    unit, checkpoints = find_checkpoints(work_dir)
    measurements = Measurements(out, 'epochs')
    results = [measurements.measure(f'{unit} {step}', cfg, path) for step, path in checkpoints.items()]
    return np.array([*checkpoints]), _table(results)


def find_checkpoints(work_dir: Path) -> tuple[str, dict[int, Path]]:
    """Return the checkpoints of a training in ascending order; a folder without any is a UserError.

    The result is ('epoch', {epoch: path}) of its ``epoch_*.pth``; if there are none, ('iteration', {iteration: path})
    of its ``iter_*.pth``.
    """
    for prefix, unit in (('epoch', 'epoch'), ('iter', 'iteration')):
        paths = {path: re.fullmatch(rf'{prefix}_(\d+)\.pth', path.name) for path in Path(work_dir).glob('*.pth')}
        steps = {int(match[1]): path for path, match in paths.items() if match}
        if steps:
            return unit, dict(sorted(steps.items()))
    raise UserError(
        f'no epoch_*.pth or iter_*.pth in {work_dir} (to keep all checkpoints of a training: '
        'default_hooks.checkpoint.max_keep_ckpts=-1)'
    )


def headline(names: Iterable[str]) -> tuple[list[str], str]:
    """Return the metrics that a figure shows and their label: the APs, else the mIoUs, else all."""
    names = [*names]
    for ending, label in HEADLINES.items():
        if chosen := [name for name in names if name.endswith(ending)]:
            return chosen, label
    return names, 'metric'


class Measurements:
    """Evaluations that are done only once: an interrupted sweep continues where it stopped.

    Two evaluations are the same if the contents of their configs, checkpoints and annotation files (or lists of images)
    are equal. The images, their masks and the code are not compared. In a distributed run the main process knows the
    finished evaluations and tells the other processes.

    ``folder`` holds ``{name}.json``, which is written after each evaluation, and the logs, in ``runs``. Lines that
    report on the progress start with ``name``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.runs = folder / 'runs'
        self.path = folder / f'{name}.json'
        known = [_read_known(self.path) if self.path.is_file() else {}]
        broadcast_object_list(known)
        self.known = known[0]

    def measure(self, label: str, cfg: Config, checkpoint: str | Path) -> Metrics:
        """Return the metrics of a checkpoint, evaluated or known; arguments as in :func:`evaluate`.

        ``label`` names the measurement, in the file and in the report.
        """
        key, remark = _digest(cfg, checkpoint), 'known'
        if key not in self.known:
            start = time.perf_counter()
            metrics = evaluate(cfg, checkpoint, self.runs)
            self.known[key] = dict(label=label, checkpoint=str(checkpoint), metrics=metrics)
            self._write()
            remark = f'{time.perf_counter() - start:.1f} s'
        metrics = self.known[key]['metrics']
        if is_main_process():
            text = '  '.join(f'{name} {metrics[name]:.4g}' for name in headline(metrics)[0])
            print(f'{self.name}: {label}: {text}  ({remark})', file=sys.stderr, flush=True)
        return metrics

    @master_only
    def _write(self) -> None:
        with atomic(self.path) as part:
            part.write_text(json.dumps(self.known, indent=1))


def _read_known(path: Path) -> dict[str, dict]:
    """Read a file of :class:`Measurements`."""
    try:
        known = json.loads(path.read_bytes())
        if all(isinstance(value, Real) for record in known.values() for value in record['metrics'].values()):
            return known
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise UserError(f'{path} is damaged: remove it and repeat the command')


def evaluate(cfg: Config, checkpoint: str | Path, work_dir: Path) -> Metrics:
    """Return the numbers that ``tools/test.py`` prints, as often as needed in one process, and without its log.

    ``cfg`` comes from :func:`read_config` and stays as it is. ``checkpoint`` is a path or URL. A checkpoint that leaves
    weights of the model random is a UserError.
    """
    cfg = copy.deepcopy(cfg)
    cfg.__dict__['_format_python_code'] = False  # yapf takes longer than an evaluation of a few images
    cfg.work_dir, cfg.log_level = str(work_dir), 'WARNING'
    cfg.visualizer = None  # a config's own might begin a run of W&B
    cfg.experiment_name = f'evaluation-{time.time_ns()}'  # mmengine would share loggers of runs within one second
    prepare_testing(cfg, str(checkpoint))
    cfg.default_hooks.pop('visualization', None)
    cfg.test_dataloader.persistent_workers = False  # there is one pass, and then nobody ends them
    runner = build_runner(cfg)
    # pycocotools prints
    with mistakes_of(cfg), running(runner), contextlib.redirect_stdout(io.StringIO()):
        metrics = runner.test()
    return {name: float(value) for name, value in metrics.items() if isinstance(value, Real)}


def _digest(cfg: Config, checkpoint: str | Path) -> str:
    """Return a digest of the settings that identify an evaluation."""
    contents = {key: value for key, value in cfg.to_dict().items() if key not in LAUNCH_KEYS}
    loader = contents.get('test_dataloader') or {}
    for key in LOADER_KEYS:
        loader.pop(key, None)
    dataset = loader.get('dataset') or {}
    annotations = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    path = Path(checkpoint) if '://' in str(checkpoint) else check_exists(str(checkpoint))
    weights = sha256(path) if path.is_file() else str(checkpoint)  # a URL, or a folder of shards
    known = [contents, weights, sha256(annotations) if annotations.is_file() else None]
    return hashlib.sha256(json.dumps(known, default=str).encode()).hexdigest()


def _layers_of(cfg: Config, layers: Iterable[int] | None) -> list[int]:
    """Return indices that count from the start; all layers of the config's backbone, if none are given."""
    kind = type_name(cfg.model.type) if cfg.get('model') else 'none'
    if kind not in ('MaskCutDetector', 'AttentionSegmentor'):
        raise UserError(f'a layer sweep takes a config of configs/maskcut or configs/segmentation, not model {kind}')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        number = len(all_layers(MODELS.build(cfg.model.backbone)))
    layers = [*range(number)] if layers is None else [*layers]
    if wrong := [layer for layer in layers if not -number <= layer < number]:
        raise UserError(f'no layer {wrong[0]}: the backbone has {number} layers, the first is 0')
    return [layer % number for layer in layers]


def _table(results: Sequence[Metrics]) -> dict[str, np.ndarray]:
    """Return the metrics that all results have."""
    names = [name for name in results[0] if all(name in result for result in results)]
    return {name: np.array([result[name] for result in results]) for name in names}
