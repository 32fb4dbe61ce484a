"""Count the multiply-adds of a model for one image, by module, and its parameters.

``torch.utils.flop_counter.FlopCounterMode`` counts matrix products, convolutions and attention where torch runs them.
This module adds:

- a formula for the fused attention of CPUs, which counts the pairs of tokens that attend, so that windows cost less;
  mmengine's ``get_model_complexity_info`` has none;
- the cost of each module alone: if a decoder calls a branch of a head, it counts once, for the head;
- names of the operators that may multiply and add and have no formula (``Complexity.uncounted``), mostly of mmcv;
- the model of any config, with weights that take no memory, and the size of its images.

Norms, activations, softmax, additions and interpolation are not counted, as in torch. Only code that runs is counted:
in the last layer of a CRATE that returns [CLS] alone, only [CLS] after the projection.

OpenMMLab and fvcore call one multiply-add one FLOP; torch calls it two. Here they are MACs, and FLOPs = 2 x MACs.
"""

import copy
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from rich.table import Table
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.profiler import profile
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from ..engine.launch import model_cfg, type_name
from ..engine.mistakes import mistakes_of
from ..errors import ArgumentTypeError, UserError
from ..models.crate import to_pair
from ..models.layers import ISTA

FUSED_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # torch has the formulas of GPUs
# Operators of torch that multiply and add, without a formula in its counter.
UNCOUNTED = (
    'aten::mv',
    'aten::dot',
    'aten::addbmm',
    'aten::_trilinear',
    'aten::_cdist_forward',
    'aten::grid_sampler_2d',
    'aten::grid_sampler_3d',
    'aten::mkldnn_rnn_layer',
    'aten::_native_multi_head_attention',
    'aten::_transformer_encoder_layer_fwd',
)
# Errors of code that asks a tensor on the meta device for values. The code runs again on the CPU, where other errors of
# these types come back.
NEEDS_VALUES = (RuntimeError, TypeError, ValueError, LookupError, AttributeError, AssertionError, ImportError)
# transform that fixes the size of an image -> its argument, an int or (width, height)
SIZES = dict(
    CenterCrop='crop_size',
    Pad='size',
    Resize='scale',
    ResizeEdge='scale',
    RandomCrop='crop_size',
    RandomResizedCrop='scale',
)


@dataclass(frozen=True)
class Part:
    """One module."""

    name: str  # path in the model; '' for the model
    parameters: int  # number of weights; a shared weight is counted once
    trainable: int  # number of weights that get gradients
    macs: int  # multiply-adds of one image, in it and in all modules within


@dataclass(frozen=True)
class Complexity:
    """The cost of ``forward(mode='tensor')`` in evaluation mode for one image."""

    size: tuple[int, int]  # (H, W) of the image after padding by the data preprocessor
    device: str  # 'meta', where nothing is computed, or 'cpu', where the forward pass needs values
    parts: list[Part]  # the model, then every module in it
    uncounted: list[str]  # operators that ran and have no formula; NMS, which has no products, is among them
    idle: list[str]  # parts with weights that were not called: for training only, or read directly (embeddings)
    regions: list[int]  # number of regions in each call of a RoI extractor


def measure_config(cfg: Config, size: tuple[int, int]) -> Complexity:
    """Count the model of a config, with random weights, on the meta device where its forward pass needs no values.

    ``size`` is (H, W) of the image before the data preprocessor. A model that cannot be built, or cannot read such an
    image, is a UserError.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # proposals depend on the weights
        with suppress(*NEEDS_VALUES):
            return measure(build(cfg, 'meta'), size, 'meta')
        torch.manual_seed(0)
        try:
            with mistakes_of(cfg):
                return measure(build(cfg, 'cpu'), size, 'cpu')
        except UserError as error:
            reason = str(error).removeprefix(f'{cfg.filename}: ')
            raise UserError(f'{cfg.filename}: an image of {size[0]} x {size[1]}: {reason}') from error


def build(cfg: Config, device: str) -> nn.Module:
    """Build the model of a config as its Runner would, with weights that are not initialised."""
    if 'model' not in cfg:
        raise UserError(f'{cfg.filename}: the config has no model')
    model = copy.deepcopy(model_cfg(cfg))  # mmseg writes in it
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'), torch.device(device):
        return MODELS.build(model)


def measure(model: nn.Module, size: tuple[int, int], device: str) -> Complexity:
    """Count one forward pass of a model of OpenMMLab; it is left in evaluation mode on ``device``, 'meta' or 'cpu'."""
    model = revert_sync_batchnorm(model).eval().to(device)  # also tells the data preprocessor
    data = one_image(model, size)
    counter = FlopCounterMode(display=False, custom_mapping={FUSED_ATTENTION: attention_flops})
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, ISTA):
                part(part.weight[:1])  # from here on it knows its weights, as after the first image
        with profile() as operators, counter, attributed(counter) as (own, regions):
            model(**data, mode='tensor')
    return Complexity(
        size=tuple(data['inputs'].shape[-2:]),
        device=device,
        parts=list_parts(model, own),
        uncounted=sorted(filter(_has_no_formula, {event.name for event in operators.function_events})),
        idle=[
            name
            for name, part in model.named_children()
            if [*part.parameters()] and own.keys().isdisjoint(part.modules())
        ],
        regions=regions,
    )


def one_image(model: nn.Module, size: tuple[int, int]) -> dict:
    """Return a random image (H, W) without annotations, after the data preprocessor."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (3, *size), dtype=torch.uint8, generator=generator)
    sample = BaseDataElement(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), img_id=0))
    data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]))
    if not isinstance(data['inputs'], Tensor):
        raise ArgumentTypeError(f'{type(model.data_preprocessor).__name__} does not make a batch of one image')
    return data


@contextmanager
def attributed(counter: FlopCounterMode) -> Iterator[tuple[dict[nn.Module, int], list[int]]]:
    """Give each module the FLOPs between its calls of other modules; torch's counter gives them to all that run.

    Yields:
        {called module: its own FLOPs}, and the number of regions in each call of a RoI extractor.
    """
    own, regions, running, settled = defaultdict(int), [], [], 0

    def settle() -> None:
        nonlocal settled
        before, settled = settled, counter.get_total_flops()
        own[running[-1]] += settled - before

    def enter(module: nn.Module, arguments: tuple) -> None:
        if running:
            settle()
        running.append(module)
        if hasattr(module, 'featmap_strides'):
            regions.append(len(arguments[1]))

    def leave(*_) -> None:
        settle()
        running.pop()

    with ExitStack() as hooks:
        hooks.callback(register_module_forward_pre_hook(enter).remove)
        hooks.callback(register_module_forward_hook(leave).remove)
        yield own, regions


def list_parts(model: nn.Module, own: dict[nn.Module, int]) -> list[Part]:
    """Return every module with the cost of all that is in it, from the FLOPs of each alone."""
    parts = []
    for name, module in model.named_modules():
        weights = list(module.parameters())
        flops = sum(own.get(inner, 0) for inner in module.modules())
        trainable = sum(weight.numel() for weight in weights if weight.requires_grad)
        parts.append(Part(name, sum(weight.numel() for weight in weights), trainable, flops // 2))
    return parts


def attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_, **__) -> int:
    """Return the FLOPs of attention by the shapes (B, K, N, p) of its arguments."""
    return sdpa_flop_count(query, key, value)


def _has_no_formula(operator: str) -> bool:
    namespace, _, name = operator.rpartition('::')  # as torch's profiler names it
    if namespace:
        return operator in UNCOUNTED or namespace not in ('aten', 'prim', 'prims')
    return name in {function.__name__ for function in Function.__subclasses__()}  # mmcv's operators


def default_size(cfg: Config) -> tuple[tuple[int, int], str]:
    """Return (H, W) of the images that a config is made for, and the setting that says so.

    For a segmentor it is the sliding window or the training crop. Otherwise it is the last size in the test pipeline
    (or the training pipeline); where the aspect ratio is kept, the largest landscape image. A config that does not say
    is a UserError.
    """
    model = cfg.get('model') or {}
    test_cfg = model.get('test_cfg') or {}
    if test_cfg.get('mode') == 'slide':
        return to_pair(test_cfg.crop_size), 'model.test_cfg.crop_size'
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if preprocessor.get('size') is not None:
        return to_pair(preprocessor['size']), 'data_preprocessor.size'
    for loader in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        for transform in reversed(pipeline(cfg.get(loader))):
            kind = type_name(transform['type'])
            if transform.get(SIZES.get(kind)) is not None:
                return to_pair(transform[SIZES[kind]])[::-1], f'{kind}.{SIZES[kind]} of {loader}'
    raise UserError(f'{cfg.filename}: the config fixes no size of images; give one with --size H W')


def pipeline(loader: dict | None) -> list[dict]:
    """Return the transforms of a data loader's config; [] if there are none."""
    dataset = (loader or {}).get('dataset') or {}
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset.get('pipeline') or []


def table(complexity: Complexity, depth: int = 1) -> Table:
    """Return parameters and costs of the modules ``depth`` levels deep, and of the model."""
    result = Table(caption=notes(complexity), caption_justify='left')
    result.add_column('module', overflow='fold')
    for column in ('parameters', 'trainable', 'GMACs', 'GFLOPs', 'share'):
        result.add_column(column, justify='right')
    model, *modules = complexity.parts
    rest = model.macs - sum(part.macs for part in modules if '.' not in part.name)

    def add(name: str, parameters: int, trainable: int, macs: int) -> None:
        share = f'{macs / model.macs:.1%}' if model.macs else ''
        result.add_row(name, f'{parameters:,}', f'{trainable:,}', f'{macs / 1e9:.4g}', f'{macs / 5e8:.4g}', share)

    for part in modules:
        level = part.name.count('.')
        if level < depth and (part.parameters or part.macs):
            add('  ' * level + part.name, part.parameters, part.trainable, part.macs)
    if rest:
        add('(in no module)', 0, 0, rest)
    result.add_section()
    add('total', model.parameters, model.trainable, model.macs)
    return result


def notes(complexity: Complexity) -> str:
    """Return text: the meaning of the numbers of a table, and the parts that are not counted."""
    height, width = complexity.size
    lines = [
        f"Forward (mode='tensor', evaluation) of one image of {height} x {width} after padding, on the "
        f'{complexity.device} device, without the post-processing of predictions.',
        'MACs: multiply-adds of matrix products, convolutions and attention, which OpenMMLab calls FLOPs; FLOPs: twice '
        'as many. Norms, activations and other elementwise operators are not counted.',
    ]
    if complexity.regions:
        lines.append(
            f'RoI heads processed {", ".join(map(str, complexity.regions))} regions (proposals by random weights); '
            'their cost is proportional to this number.'
        )
    if complexity.uncounted:
        lines.append(f'NOT COUNTED, no formula: {", ".join(complexity.uncounted)}.')
    if complexity.idle:
        lines.append(
            f'Not called (for training only, or weights that are read directly): {", ".join(complexity.idle)}.'
        )
    return '\n'.join(lines)
