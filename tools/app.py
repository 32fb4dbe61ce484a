#!/usr/bin/env python3
"""Explore images in a browser: attention, principal components, eigenvectors and masks, two models side by side.

  python tools/app.py                                                 # the two models of this repository
  python tools/app.py work_dirs/demo/crate-seed0/iter_400.pth         # and checkpoints of trainings
  python tools/app.py --backbone dinov2-small hf/facebook/dinov2-base

Models are chosen here, on the command line; whoever opens the page chooses among them. A checkpoint's own config is
read, never executed. The page loads nothing from other hosts, and nothing is reported or shared. Uploads stay in a
temporary folder, which is removed at the end.
"""

import json
import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli

WEIGHTS = _cli.ROOT / 'docs' / 'experiments' / 'weights'
FACETS = ('default', 'key', 'query', 'value', 'token')
MEAN = 'mean'  # of the heads
MAX_BYTES, MAX_PIXELS = 20 * 2**20, 25_000_000  # of an upload
MAX_SIDE = 640  # longest side of the model's input, in pixels
SHOWN = 448  # longer side of the pictures on the page, in pixels
# galleries as high as their pictures; on a phone, room for the text of a menu beside its arrow
CSS = """.grid-wrap, .gallery-container { min-height: 0 !important; height: auto !important; }
.wrap-inner { padding: 6px 0 6px 4px !important; }"""
FIRST_SIDE = 128  # longer side of the model's input at first: where docs/experiments compares the two models


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    add = parser.add_argument
    add('checkpoints', nargs='*', type=Path, metavar='CHECKPOINT', help='files with weights: more models for the page')
    text = "config files with the backbones, one per checkpoint; '-': the checkpoint's own (default: '-' for all)"
    add('--configs', nargs='+', metavar='C', help=text)
    add('--backbone', nargs='+', default=[], metavar='NAME', help='pretrained ViTs, as in tools/maskcut.py')
    add('--host', default='127.0.0.1', help='address to listen on; 0.0.0.0: every network (default: %(default)s)')
    add('--port', type=_cli.positive, default=7860, help='port (default: %(default)s)')
    args = parser.parse_args(argv)
    if args.configs and len(args.configs) != len(args.checkpoints):
        parser.error(f'--configs: {len(args.configs)} for {len(args.checkpoints)} checkpoints; give one for each')
    return args


def main(argv=None):
    return _cli.run('app', serve, parse_args(argv))


def serve(args):
    """Load the models and serve the page until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the uploads would stay
    with tempfile.TemporaryDirectory(prefix='crate-app-') as folder:
        # before the import, which reads them
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1')
        try:
            import gradio
        except ImportError as error:
            raise _cli.mistake(f"the app needs Gradio: pip install 'gradio>=6,<6.18' ({error})") from error
        print('app: loading the models', flush=True)
        page = build(load_models(args), Path(folder))
        try:
            _, address, _ = page.launch(
                quiet=True,  # its lines propose to share the page
                prevent_thread_lock=True,
                server_name=args.host,
                server_port=args.port,
                share=False,
                max_file_size=MAX_BYTES,
                footer_links=[],
                ssr_mode=False,
                css=CSS,
                # names of fonts, which the browser has: Gradio's own themes name fonts of Google
                theme=gradio.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['monospace']),
            )
        except OSError as error:
            raise _cli.mistake(f'--port {args.port} of {args.host} cannot be used: choose another') from error
        print(f'app: open {address} in a browser; Ctrl-C ends the page', flush=True)
        page.block_thread()


def load_models(args):
    """Return {name on the page: model}."""
    from projects.crate.study.checkpoint_model import default_names
    from projects.crate.study.explore import SharedObserver
    from projects.crate.study.observer import Observer, repository_observers

    models = {name: SharedObserver(observer) for name, observer in repository_observers(WEIGHTS).items()}
    names, configs = default_names(args.checkpoints), args.configs or ['-'] * len(args.checkpoints)
    for name, checkpoint, config in zip(names, args.checkpoints, configs):
        models[name] = SharedObserver(Observer.from_checkpoint(checkpoint, None if config == '-' else config))
    models.update({name: SharedObserver.from_library(name) for name in args.backbone})
    if not models:
        raise _cli.mistake(f'no weights in {WEIGHTS}: name a checkpoint, or a ViT with --backbone')
    return models


def build(models, folder):
    """Return the page: an image for both columns, and a model, its settings and its pictures in each column."""
    import gradio as gr

    from projects.crate.study.images import packaged_photographs

    photos = packaged_photographs()
    paths = {text.partition(':')[0]: path for path, text in photos.items()}
    with gr.Blocks(title='What a vision transformer sees', analytics_enabled=False, delete_cache=(600, 3600)) as page:
        opened, place = gr.State(None, time_to_live=3600), gr.State(None, time_to_live=3600)  # of each user alone
        gr.Markdown('## What a vision transformer sees\nDrop an image or pick one. Click a patch to see its attention.')
        # a text box, no Markdown: the name of an upload is in it
        message = gr.Textbox(show_label=False, container=False, elem_id='message', placeholder='no messages')
        with gr.Row():
            with gr.Column(min_width=280):
                upload = gr.File(label='Your image', file_types=['image'], height=120, elem_id='upload')
                pick = gr.Dropdown([*paths], label='Or a photograph', elem_id='pick')
                clear = gr.Button('Attention of [CLS] again', size='sm', elem_id='cls')
            with gr.Column(min_width=280):
                shown = gr.Image(label='Click a patch', interactive=False, buttons=[], height=300, elem_id='shown')
            with gr.Column(min_width=280):
                side = gr.Slider(64, MAX_SIDE, FIRST_SIDE, step=8, label='Longer side for the model (pixels)')
                tau = gr.Slider(0, 1, 0.15, step=0.01, label='MaskCut: tau', elem_id='tau')
                number = gr.Slider(1, 6, 3, step=1, label='MaskCut: number of masks', elem_id='number')
        with gr.Row():
            for index, name in enumerate(([*models] * 2)[:2]):
                column(models, folder, name, index, [opened, place, side, tau, number])
        credits = '; '.join(photos.values())
        gr.Markdown(f'Colours run from the least to the largest value of each picture. Photographs: {credits}.')

        def click(opened, event: gr.SelectData):
            """Return (y, x), from 0 to 1, in the picture whose longer side is ``SHOWN``."""
            height, width = (side * SHOWN / max(opened['size']) for side in opened['size'])
            return event.index[1] / height, event.index[0] / width

        content, photograph = [opened, shown, place, message], partial(read_photograph, paths)
        upload.upload(read_upload, upload, content, api_visibility='private')
        pick.select(photograph, pick, content, api_visibility='private')
        page.load(photograph, pick, content, api_visibility='private')
        for chosen, other in ((upload.upload, pick), (pick.select, upload)):  # only the image that is shown has a name
            chosen(lambda: None, None, other, api_visibility='private')
        shown.select(click, opened, place, api_visibility='private')
        clear.click(lambda: None, None, place, api_visibility='private')
    return page


def column(models, folder, first, index, shared):
    """Lay out one model, and draw it again after every change of its settings or of the ``shared`` ones."""
    import gradio as gr

    def options(name):
        """Return layer, head and facet for another model: the last layer, the mean of the heads."""
        model = models[name]
        layers, heads = ([*map(str, range(count))] for count in (model.num_layers, model.num_heads))
        return (
            gr.Dropdown(layers, value=layers[-1], label='Layer', elem_id=f'layer{index}', min_width=120),
            gr.Dropdown([MEAN, *heads], value=MEAN, label='Head', elem_id=f'head{index}', min_width=120),
            gr.Dropdown(FACETS, value=FACETS[0], label='Features', elem_id=f'facet{index}', min_width=120),
        )

    with gr.Column(min_width=320):
        name = gr.Dropdown([*models], value=first, label='Model', elem_id=f'model{index}')
        with gr.Row():
            settings = options(first)
        one = dict(interactive=False, format='png', buttons=['fullscreen'])
        several = dict(one, columns=3, object_fit='contain')
        pictures = [
            gr.Markdown(elem_id=f'note{index}'),
            gr.Image(label='Attention of the head', elem_id=f'attention{index}', **one),
            gr.Gallery(label='All heads', elem_id=f'heads{index}', **several),
            gr.Image(label='Masks of MaskCut', elem_id=f'masks{index}', **one),
            gr.Gallery(label='Eigenvectors of MaskCut', elem_id=f'vectors{index}', **several),
            gr.Gallery(label='Principal components', elem_id=f'components{index}', **several),
        ]
        save = gr.Button('Masks as COCO JSON', size='sm', elem_id=f'save{index}')
        file = gr.File(label='COCO JSON', visible='hidden', elem_id=f'json{index}')
    inputs, update = [*shared, name, *settings], partial(draw, models)
    triggers = [each.change for each in (*shared, *settings)]
    gr.on(triggers, update, inputs, pictures, trigger_mode='always_last', api_visibility='private')
    # an earlier file has the masks of other settings; the browser removes it, at once
    gr.on([name.change, *triggers], None, None, file, js='() => null', api_visibility='private')
    changed = name.input(options, name, [*settings], api_visibility='private')
    changed.then(update, inputs, pictures, api_visibility='private')
    save.click(partial(write, models, folder), inputs, [pictures[0], file], api_visibility='private')


def read_upload(path):
    """Return (state, picture, place, message) of an upload; the message says why a file cannot be shown."""
    from projects.crate.datasets.loading import ImageFileError, LoadImageOrSkip
    from projects.crate.files import printable

    name = printable(Path(path).name)
    try:
        image = LoadImageOrSkip(skip=False, max_pixels=MAX_PIXELS)(dict(img_path=path))['img'][..., ::-1]
    except ImageFileError as error:
        reason = str(error).rpartition(f'{name}: ')[2].partition('; to load it')[0]
        return None, None, None, f'{name} cannot be shown: {reason}'
    return opened_image(image, name)


def read_photograph(paths, title):
    """Return (state, picture, place, message) of one of the photographs by its title."""
    from projects.crate.study.images import read_images

    return opened_image(read_images(paths[title])[0][1], paths[title].name)


def opened_image(image, name):
    """Return (state, picture, place, message) of an image (H, W, 3) uint8 RGB."""
    from projects.crate.study.images import fit

    kept = fit(image, MAX_SIDE) if max(image.shape) > MAX_SIDE else image
    state = dict(name=name, image=kept, size=image.shape[:2])
    return state, fit(image, SHOWN), None, ''


def look(models, opened, place, side, tau, number, name, layer, head, facet):
    """Return what a model sees, or a message."""
    from projects.crate.errors import UserError, explain
    from projects.crate.study.images import fit

    if opened is None:
        return ''
    facet = None if facet == FACETS[0] else facet
    try:
        return models[name].look(fit(opened['image'], int(side)), int(layer), facet, tau, int(number), place)
    except UserError as error:
        return explain(error)


def draw(models, opened, *settings):
    """Return the pictures of a column: (note, attention, heads, masks, eigenvectors, components)."""
    from projects.crate.study.images import fit
    from projects.crate.study.masks import painted

    view = look(models, opened, *settings)
    if isinstance(view, str):
        return view, None, None, None, None, None
    head, maps = settings[-2], view.attention
    image, masks = fit(opened['image'], max(view.size)), view.masks_of(view.size)
    heat = view.heat(maps.mean(0) if head == MEAN else maps[int(head)])
    note = f'{maps.shape[1]} x {maps.shape[2]} patches, masks: {len(masks)}'

    def gallery(**pictures):
        return [(view.enlarge(picture, SHOWN), name.replace('_', ' ')) for name, picture in pictures.items()]

    return (
        note,
        view.enlarge((0.75 * heat + 0.25 * image).astype(image.dtype), SHOWN),
        gallery(**{f'head_{index}': view.heat(each) for index, each in enumerate(maps)}),
        view.enlarge(painted(image, masks), SHOWN),
        gallery(**{f'round_{index}': view.heat(each) for index, each in enumerate(view.eigenvectors)}),
        gallery(first=view.colour(view.component[..., None].repeat(3, 2)), second_to_fourth=view.colour(view.colours)),
    )


def write(models, folder, opened, *settings):
    """Return (note, COCO file with the masks at the size of the image)."""
    import gradio as gr

    from projects.crate.study.explore import coco_masks

    view = look(models, opened, *settings)
    if isinstance(view, str):
        return view or 'no image', None
    path = Path(tempfile.mkdtemp(dir=folder)) / 'masks.json'
    path.write_text(json.dumps(coco_masks(opened['name'], view.masks_of(opened['size']))))
    return f'{path.name}: {opened["size"][1]} x {opened["size"][0]} pixels', gr.File(str(path), visible=True)


if __name__ == '__main__':
    sys.exit(main())
