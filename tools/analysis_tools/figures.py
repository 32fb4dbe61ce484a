#!/usr/bin/env python3
"""Draw the figures of arXiv 2308.16271 for any checkpoint: each as PNG and PDF, with its numbers as npz.

  python tools/analysis_tools/figures.py attention CONFIG CHECKPOINT IMAGES     # Figures 1, 7, 13, 14
  python tools/analysis_tools/figures.py masks IMAGES MODEL [MODEL ...]         # a JPEG per model, without PDF and npz
  python tools/analysis_tools/figures.py pca --help                             # options of a figure

CONFIG is any config with a backbone: the config of the training, of configs/maskcut or of configs/segmentation. IMAGES
is an image, a folder or a text file with a path per line. Layers count from 0; -1 is the last.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import _cli


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    commands = parser.add_subparsers(metavar='FIGURE', required=True)
    config, out = _cli.new_parent(), argparse.ArgumentParser(add_help=False)
    model, images, layer, some_layers, facet, launcher = (argparse.ArgumentParser(add_help=False) for _ in range(6))
    config.add_argument('config', help='config file')
    _cli.add_cfg_options(config)
    out.add_argument('--out', type=Path, default=Path('figures'), help='folder to write to (default: %(default)s)')
    model.add_argument('checkpoint', help='file with the weights')
    images.add_argument('images', type=Path, help='image, folder, or text file with a path per line')
    _cli.add_size(images, 'resize images (default: keep their size; for masks: see docs/masks-without-labels.md)')
    layer.add_argument('--layer', type=int, default=-1, help='layer, from 0; -1 is the last (default: -1)')
    some_layers.add_argument('--layers', type=int, nargs='+', metavar='LAYER', help='layers, from 0 (default: all)')
    _cli.add_facet(facet)
    _cli.add_launcher(launcher)

    def add(run, parents, text, description):
        """Add a figure. ``run(args)`` imports its modules, and returns the paths that it wrote."""
        name = run.__name__.replace('_', '-')
        command = commands.add_parser(name, parents=[*parents, out], help=text, description=description)
        command.set_defaults(run=run)
        return command.add_argument

    option = add(
        attention,
        [config, model, images, layer],
        'attention of all heads (Figures 1, 7, 13, 14)',
        'Draw a row per image: the image, and the attention of [CLS] to the patches in every head.',
    )
    option('--per-image', action='store_true', help='write one file per image (default: pages)')
    option('--rows', type=_cli.positive, default=10, help='images on a page (default: %(default)s)')
    option('--outline', action='store_true', help='outline the mask of each map, as used for mIoU')
    text = 'rule that turns attention into a mask (default: %(default)s)'
    option('--rule', choices=['mass', 'top'], default='mass', help=text)
    text = 'share of mass or patches in a mask (default: %(default)s)'
    option('--share', type=float, default=0.6, help=text)
    text = 'width of a picture in inches (default: %(default)s)'
    option('--width', type=_cli.length, default=1.1, help=text)

    option = add(
        pca,
        [config, model, images, layer, facet],
        'principal components of the foreground of several images (Figure 3)',
        'IMAGES are of one class. Patches whose projection on the leading eigenvector is below the threshold are '
        'background (black). Red, green and blue are the first three components of the other patches.',
    )
    text = 'threshold of the projection (default: %(default)s)'
    option('--threshold', type=float, default=12.0, help=text)
    option('--flip', action='store_true', help='take the other side of the eigenvector as foreground')

    add(
        pca_layers,
        [config, model, images, some_layers, facet],
        'principal components of all patches, layer by layer (Figures 6, 9)',
        'Draw component 1 in grey, and 2 to 4 in red, green and blue. All IMAGES share them.',
    )

    option = add(
        noise,
        [config, model, images, layer],
        'attention of all heads under noise (Figures 11, 12)',
        'Write a file per image: a row without noise, and a row for each strength and share of noise.',
    )
    numbers = dict(type=float, nargs='+', metavar='X')
    text = 'strengths of the noise in grey levels, of 255 (default: 10 25 50 75)'
    option('--std', default=[10, 25, 50, 75], help=text, **numbers)
    text = 'shares of noisy pixels (default: 0.1 0.25 0.5 0.75)'
    option('--share', default=[0.1, 0.25, 0.5, 0.75], help=text, **numbers)
    option('--seed', type=_cli.natural, default=0, help='seed of the noise (default: %(default)s)')

    add(
        sparse_rate,
        [config, model, images],
        'compression and sparsity, layer by layer',
        'Write coding rate and share of non-zeros of the tokens of each layer, as a table and as curves. Mean and '
        'standard deviation are over IMAGES.',
    )

    option = add(
        masks,
        [_cli.new_parent(), images],
        'masks of MaskCut, for several models',
        'Write a JPEG per model: a row of IMAGES with the masks that MaskCut finds in its features.',
    )
    text = 'dinov2-small, timm/NAME, a checkpoint, ...: see docs/masks-without-labels.md'
    option('models', nargs='+', metavar='MODEL', help=text)

    again = (
        'Measurements are kept in OUT. After an interrupt, run the same command to continue. '
        'Empty OUT after a change of images, masks or code.'
    )
    add(
        layers,
        [config, model, launcher, some_layers],
        'AP or mIoU against the layer (Figure 6)',
        f'CONFIG is one of configs/maskcut or configs/segmentation. {again}',
    )
    option = add(
        epochs,
        [config, launcher],
        'AP, mIoU or accuracy against the epoch (Figure 10)',
        f'CONFIG is any config that tools/test.py runs with the checkpoints of WORK_DIR. {again}',
    )
    option('work_dir', type=Path, help='folder of a training, with epoch_*.pth or iter_*.pth')
    return parser.parse_args(argv)


def open_model(args):
    """Return the observer, and an iterator over the images with a progress bar."""
    from projects.crate.engine.launch import read_config
    from projects.crate.progress import Progress
    from projects.crate.study.images import iterate_images
    from projects.crate.study.observer import Observer

    observer = Observer.from_config(read_config(args.config, args.cfg_options), args.checkpoint)
    return observer, iterate_images(args.images, args.size, Progress('figures'))


def named(layer, observer):
    return f'layer {layer} (of 0 to {observer.num_layers - 1})'


def attention(args):
    from projects.crate.study.attention import attention_figure, attention_of_heads, pages
    from projects.crate.study.drawing import save_figure

    observer, images = open_model(args)
    layer = observer.number(args.layer)
    title = f'attention of [CLS] to the patches, {named(layer, observer)}'
    found = attention_of_heads(observer, images, layer, args.rule, args.share)
    for number, page in enumerate(pages(found, 1 if args.per_image else args.rows), 1):
        figure = attention_figure(
            [item.image for item in page],
            {'': [item.maps for item in page]},
            masks={'': [item.masks for item in page]} if args.outline else None,
            names=[item.path.name for item in page],
            title=title,
            patch_size=observer.patch_size,
            cell=args.width,
        )
        name = f'{number:04d}_{page[0].path.stem}' if args.per_image else f'page{number:02d}'
        arrays = {f'{key}_{i}': getattr(item, key) for i, item in enumerate(page) for key in ('maps', 'masks')}
        names = [str(item.path) for item in page]
        yield from save_figure(figure, args.out / f'attention_layer{layer}_{name}', names=names, **arrays)


def pca(args):
    from projects.crate.study.drawing import save_figure
    from projects.crate.study.pca import foreground_figure, remove_background

    observer, images = open_model(args)
    layer, facet = observer.number(args.layer), (args.facet, args.centred)
    paths, images, features = zip(
        *((path, image, observer.features(image, [layer], *facet)[layer]) for path, image in images)
    )
    found = remove_background(features, args.threshold, args.flip)
    title = f'components 1-3 of the foreground, {named(layer, observer)}'
    figure = foreground_figure(images, found.colours, title, observer.patch_size)
    arrays = {f'{key}_{i}': grid for key, grids in vars(found).items() for i, grid in enumerate(grids)}
    return save_figure(figure, args.out / f'pca_layer{layer}', names=[*map(str, paths)], **arrays)


def pca_layers(args):
    from projects.crate.study.drawing import save_figure
    from projects.crate.study.pca import first_components, layers_figure

    observer, images = open_model(args)
    layers = [observer.number(layer) for layer in args.layers or range(observer.num_layers)]
    facet = args.facet, args.centred
    paths, images, features = zip(*((path, image, observer.features(image, layers, *facet)) for path, image in images))
    first, colours = zip(*(first_components([grids[layer] for grids in features]) for layer in layers))
    figure = layers_figure(images, first, colours, layers, 'components of all patches, by layer', observer.patch_size)
    arrays = {
        f'{name}_layer{layer}_{i}': grid
        for name, by_layer in (('component1', first), ('components2to4', colours))
        for layer, grids in zip(layers, by_layer)
        for i, grid in enumerate(grids)
    }
    return save_figure(figure, args.out / 'pca_layers', names=[*map(str, paths)], **arrays)


def noise(args):
    from projects.crate.study.attention import attention_figure
    from projects.crate.study.drawing import save_figure
    from projects.crate.study.noise import noise_grid

    observer, images = open_model(args)
    layer = observer.number(args.layer)
    for number, (path, image) in enumerate(images, 1):
        clean = observer.attention(image, [layer])[layer]
        noisy, maps = noise_grid(observer, image, layer, args.std, args.share, args.seed)
        names = [f'std {std:g}, {100 * share:g}%' for std in args.std for share in args.share]
        figure = attention_figure(
            [image, *noisy.reshape(-1, *image.shape)],
            {'': [clean, *maps.reshape(-1, *clean.shape)]},
            names=['no noise', *names],
            title=f'attention under noise, {named(layer, observer)}',
            patch_size=observer.patch_size,
        )
        arrays = dict(image=image, clean=clean, noisy=noisy, maps=maps, std=args.std, share=args.share)
        yield from save_figure(figure, args.out / f'noise_layer{layer}_{number:04d}_{path.stem}', **arrays)


def sparse_rate(args):
    from projects.crate.evaluation.sparse_rate import mean_and_std
    from projects.crate.study.drawing import save_figure
    from projects.crate.study.sparse_rate import layer_rates, rate_table, sparse_rate_figure

    paths, rates = layer_rates(*open_model(args))
    summary = mean_and_std(rates)
    print(rate_table(summary))
    figure = sparse_rate_figure({f'{len(paths)} images': summary})
    return save_figure(figure, args.out / 'sparse_rate', names=[*map(str, paths)], **rates)


def masks(args):
    from projects.crate.study.inferencer import MaskCutInferencer
    from projects.crate.study.masks import mask_grid, save_picture

    for model in args.models:
        found = MaskCutInferencer(model, size=args.size)(args.images)
        path = args.out / f'masks-{Path(model).name}.jpg'
        save_picture(mask_grid([one.image for one in found], [one.masks for one in found], cell=240), path)
        yield path


def layers(args):
    from projects.crate.study.sweep import layer_sweep

    numbers, metrics = layer_sweep(sweep_config(args), args.checkpoint, args.out, args.layers)
    return save_sweep(args.out / 'layers', 'layer', numbers, metrics)


def epochs(args):
    from projects.crate.study.sweep import epoch_sweep, find_checkpoints

    unit, _ = find_checkpoints(args.work_dir)
    numbers, metrics = epoch_sweep(sweep_config(args), args.work_dir, args.out)
    return save_sweep(args.out / 'epochs', unit, numbers, metrics)


def sweep_config(args):
    from mmengine.dist import init_dist, is_distributed

    from projects.crate.engine.launch import read_config
    from projects.crate.files import make_folder

    make_folder(args.out)
    cfg = read_config(args.config, args.cfg_options, launcher=args.launcher)
    if args.launcher != 'none' and not is_distributed():  # on GPUs mmengine would join the others later
        init_dist(args.launcher, **cfg.env_cfg.dist_cfg)
    return cfg


def save_sweep(stem, unit, numbers, metrics):
    from mmengine.dist import is_main_process

    from projects.crate.study.curves import curve_figure
    from projects.crate.study.drawing import save_figure
    from projects.crate.study.sweep import headline

    if not is_main_process():
        return []
    names, label = headline(metrics)
    xlabel = 'layer (0-based)' if unit == 'layer' else unit
    figure = curve_figure({name: (numbers, metrics[name]) for name in names}, xlabel, label)
    return save_figure(figure, stem, **{unit: numbers}, **metrics)


def main(argv=None):
    return _cli.run('figures', draw, parse_args(argv), 'interrupted; run the same command to continue layers or epochs')


def draw(args):
    for path in args.run(args):
        print(path)


if __name__ == '__main__':
    sys.exit(main())
