#!/usr/bin/env python3
"""Measure this project against what its users could take instead, in one process.

python tools/benchmark.py speed       # our backbone, against the textbook formulation and ViTs of its size
python tools/benchmark.py maskcut     # against dense eigensolvers, on the features of four photographs
python tools/benchmark.py attention   # what reading the attention of [CLS] adds to a forward pass
python tools/benchmark.py memory      # of a backbone on images of 1024 x 1024, against the window of its attention
python tools/benchmark.py input       # the transforms of a training, against the model's step
python tools/benchmark.py pseudo-labels  # the whole of tools/maskcut.py, by stage
python tools/benchmark.py maskcut --threads 2 --repeats 5 --json maskcut.json
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli
from _cli import positive

CONFIGS = _cli.ROOT / 'configs' / 'classification'
BACKBONES = ['crate-emergence-small-p8_8xb512-coslr-90e_in21k', 'vit-small-p8_16xb256-coslr-90e_in21k']


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    commands = parser.add_subparsers(
        dest='what', metavar='WHAT', required=True, help='speed, maskcut, attention, memory, input or pseudo-labels'
    )
    output = _cli.new_parent()
    output.add_argument('--json', type=Path, help='write the numbers there, too')

    network = argparse.ArgumentParser(add_help=False)
    network.add_argument('--arch', default='base', help='of the CRATE (default: %(default)s)')
    network.add_argument('--patch-size', type=positive, default=16, help='in pixels (default: %(default)s)')
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='change settings')

    def shared(repeats=3):  # one each: subcommands would change each other's defaults
        parser = argparse.ArgumentParser(add_help=False, parents=[output])
        parser.add_argument('--threads', type=positive, default=1, help='of every alternative (default: %(default)s)')
        parser.add_argument('--repeats', type=positive, default=repeats, help='of each of them (default: %(default)s)')
        return parser

    speed = commands.add_parser(
        'speed',
        parents=[shared(7), network],
        help='of our backbone, against the textbook formulation and ViTs of its width and depth',
        description='Images a second of forward and of forward and backward, against the same network with three '
        "products in ISTA and the attention map in memory, mmpretrain's VisionTransformer, and timm's if it is "
        'installed; peak memory, and operations a second as a share of those of a matrix product in the same run.',
    )
    speed.add_argument('--size', type=positive, default=224, help='side of the images (default: %(default)s)')
    speed.add_argument('--batch-size', type=positive, default=8, help='images in a pass (default: %(default)s)')
    speed.add_argument('--passes', nargs='+', choices=['forward', 'training'], default=['forward', 'training'])
    speed.add_argument('--bf16', action='store_true', help='under bfloat16 autocast')
    speed.set_defaults(run=run_speed)

    maskcut = commands.add_parser('maskcut', parents=[shared()], help='MaskCut, against dense eigensolvers')
    maskcut.add_argument(
        '--features',
        type=Path,
        default=_cli.ROOT / 'tests' / 'data' / 'maskcut_golden_60.npz',
        help='npz file with entries NAME_feat (C, h * h) (default: the photographs of the tests, 60 x 60 tokens)',
    )
    maskcut.add_argument(
        '--sides', type=positive, nargs='*', default=[60, 120], help='sides of the grids whose memory is measured'
    )
    maskcut.set_defaults(run=run_maskcut)

    attention = commands.add_parser(
        'attention', parents=[shared(15)], help='reading the attention of [CLS], against the forward pass alone'
    )
    attention.add_argument(
        '--configs',
        type=Path,
        nargs='+',
        default=[CONFIGS / f'{name}.py' for name in BACKBONES],
        help='whose backbones are measured, with random weights (default: CRATE-S/8 and ViT-S/8)',
    )
    attention.add_argument(
        '--size', type=positive, nargs=2, metavar=('H', 'W'), default=[224, 224], help='of the images'
    )
    attention.add_argument('--batch-size', type=positive, default=1, help='images in a pass (default: %(default)s)')
    attention.set_defaults(run=run_attention)

    memory = commands.add_parser(
        'memory',
        parents=[shared(), network],
        help='of a forward and a backward pass, against the window of the attention',
        description='Peak memory on square images, with attention fused and with its matrix in memory, and the speed '
        'of the forward pass on the last of them. Without a GPU the bytes of live tensors are counted: no memory is '
        'needed but for the speed.',
    )
    memory.add_argument('--sizes', type=positive, nargs='+', default=[512, 1024], help='of images (default: 512 1024)')
    memory.add_argument(
        '--windows',
        type=positive,
        nargs='+',
        default=[7, 14, 28],
        help='in tokens, beside global (default: 7 14 28)',
    )
    memory.add_argument('--no-global-layers', action='store_true', help='windows in all layers, not in all but four')
    memory.set_defaults(run=run_memory)

    trained = commands.add_parser(
        'input',
        parents=[shared(), options],
        help="the transforms of a training config, against its model's step on this device",
    )
    trained.add_argument('config', help='of mmpretrain, mmdet or mmseg; its data set must be there')
    trained.add_argument('--images', type=positive, default=100, help='that are transformed (default: %(default)s)')
    trained.set_defaults(run=run_input)

    labels = commands.add_parser(
        'pseudo-labels',
        parents=[output, options],
        help='the whole of tools/maskcut.py, from images to JSON, by stage',
        description='One run, one process, one thread, which loads the images, too.',
    )
    labels.add_argument('images', type=Path, help='folder, or text file with a path per line')
    labels.add_argument('--config', required=True, help='config file, of configs/maskcut')
    labels.add_argument('--checkpoint', required=True, help='weights of its backbone: a file')
    labels.set_defaults(run=run_pseudo_labels, threads=1, repeats=1)
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    for library in ('OMP', 'MKL', 'OPENBLAS'):  # read when numpy and scipy are imported
        os.environ[f'{library}_NUM_THREADS'] = str(args.threads)
    return _cli.run('benchmark', measure, args)


def measure(args):
    import torch

    from projects.crate.benchmark.timing import machine
    from projects.crate.files import make_folder

    if args.json:
        make_folder(args.json.parent)
    torch.set_num_threads(args.threads)
    numbers, text = args.run(args)
    print(f'{machine()}, torch {torch.__version__}, {args.threads} threads, {args.repeats} repeats')
    print(text)
    if args.json:
        args.json.write_text(json.dumps(dict(threads=args.threads, **numbers), indent=2) + '\n')


def run_speed(args):
    from mmengine.device import get_device

    from projects.crate.benchmark import speed

    subject = speed.Subject(args.arch, args.patch_size, args.size, args.batch_size, args.bf16, get_device())
    models = subject.models()
    found = speed.measure(subject, models, args.repeats, args.passes)
    difference = speed.difference(subject, models)  # afterwards: it leaves matrices that the memory would not show
    text = f'largest difference to the textbook formulation: {difference:.1e}\n{speed.report(found, args.batch_size)}'
    return dict(vars(subject), difference=difference, passes=found), text


def run_maskcut(args):
    from projects.crate.benchmark import maskcut

    if not args.features.is_file():
        raise _cli.mistake(f'{args.features}: no such file; give an npz file with --features')
    rows = maskcut.measure(maskcut.read_features(args.features), args.repeats)
    memory = {f'{side} x {side}': maskcut.peak_memory(side) for side in args.sides}
    return dict(images=rows, memory_mb=memory), maskcut.report(rows, memory)


def run_attention(args):
    from projects.crate.benchmark import attention
    from projects.crate.engine.launch import read_config
    from projects.crate.study.observer import Observer

    seconds = {}
    for path in args.configs:
        backbone = Observer.from_config(read_config(str(path)), checkpoint=None).backbone
        seconds[path.stem] = attention.measure(backbone, args.size, args.batch_size, args.repeats)
    return dict(size=args.size, batch_size=args.batch_size, seconds=seconds), attention.report(seconds)


def run_memory(args):
    from mmengine.device import get_device
    from rich.console import Console
    from rich.progress import track

    from projects.crate.benchmark import memory

    subject = dict(
        arch=args.arch,
        patch_size=args.patch_size,
        windows=[*args.windows, None],
        global_layers=[] if args.no_global_layers else None,
        device=get_device(),
    )
    total = len(args.sizes) * len(memory.KERNELS) * len(subject['windows'])
    rows = memory.measure(sizes=args.sizes, **subject)
    progress = dict(transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty())
    rows = list(track(rows, 'memory', total, **progress))
    seconds = memory.measure_speed(size=args.sizes[-1], repeats=args.repeats, **subject)
    named = {memory.name(window): s for window, s in seconds.items()}
    return dict(arch=args.arch, patch_size=args.patch_size, memory=rows, seconds=named), memory.report(rows, seconds)


def run_input(args):
    from projects.crate.benchmark import training_input
    from projects.crate.engine.launch import prepare_training, read_config

    cfg = read_config(args.config, args.cfg_options)
    prepare_training(cfg)
    found = training_input.measure(cfg, args.images, args.repeats)
    return found, training_input.report(found)


def run_pseudo_labels(args):
    import tempfile

    from projects.crate import pseudo_labels
    from projects.crate.benchmark import pseudo_labels as stages
    from projects.crate.engine.launch import read_config

    with tempfile.TemporaryDirectory() as scratch:
        images = pseudo_labels.list_images(args.images, Path(scratch))
        seconds = stages.measure(read_config(args.config, args.cfg_options), args.checkpoint, images)
    return dict(images=len(images), seconds=seconds), stages.report(seconds, len(images))


if __name__ == '__main__':
    sys.exit(main())
