#!/usr/bin/env python3
"""Draw the pictures of docs/ again that need no training: attention, masks, curves of the experiment, the live page.

  python tools/update_pictures.py                  # after a change of a figure
  python tools/update_pictures.py --models FOLDER  # also the masks of another ViT, as masks-{name of the folder}.jpg
  python tools/update_pictures.py --demo PAGE      # also the pictures of docs/demo.md, from the page of `make demo`

CONTRIBUTING.md says how the other pictures are made. The live page needs Chromium and playwright; without them its
picture stays.
"""

import base64
import importlib.util
import io
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import _cli
from _commands import Commands
from update_tables import RESULTS, SIZES

PHOTOS = ('astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg')  # of scikit-image
ROWS = 4  # photographs in README's picture
MODELS = ('crate-w192d5-p4_tinyimagenet100', 'vit-w192d5-p4_tinyimagenet100')
PAGE = dict(viewport=dict(width=1200, height=1776), device_scale_factor=2 / 3)
PATIENCE, STILL = 60_000, 3_000  # milliseconds; the second: until nothing is faded
FLAGS = ('--no-sandbox', '--disable-gpu', '--disable-background-networking')

CHANGED = """before => [...document.querySelectorAll('#attention0 img, #attention1 img')]
    .every((picture, index) => picture.src && picture.getAttribute('src') !== before[index])"""


def parse_args(argv):
    parser = _cli.new_parser(__doc__)
    parser.add_argument('--models', nargs='+', default=[], metavar='MODEL', help='more models for the masks')
    parser.add_argument('--demo', type=Path, metavar='PAGE', help='index.html of a finished `make demo`')
    parser.add_argument('--out', type=Path, default=_cli.ROOT / 'docs', help='folder to write to (default: docs)')
    return parser.parse_args(argv)


def main(argv=None):
    return _cli.run('update_pictures', update, parse_args(argv))


def update(args):
    """Draw all pictures, and name those that stay as they are."""
    from projects.crate.files import make_folder

    images, experiments = args.out / 'images', args.out / 'experiments'
    for folder in (images, experiments):
        make_folder(folder)
    if args.demo:
        copy_demo(args.demo, images)
    draw_attention(images / 'attention-crate-vit.png')
    draw_masks(images, args.models)
    draw_curves(experiments / 'emergence-curves.png')
    chromium = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if chromium and importlib.util.find_spec('playwright'):
        photograph_page(chromium, images / 'app.png')
    else:
        print('update_pictures: app.png stays: it needs Chromium and playwright')


def draw_attention(path):
    """Draw the attention of both models of this repository in the first photographs of the demo."""
    from projects.crate.files import atomic
    from projects.crate.study.comparison import last_layer_figures
    from projects.crate.study.images import fit, packaged_photographs, read_images
    from projects.crate.study.observer import repository_observers

    paths = [*packaged_photographs()][:ROWS]
    images = [fit(image, 128) for file in paths for _, image in read_images(file)]
    figure = last_layer_figures(repository_observers(RESULTS.parent / 'weights'), images)['attention']
    with atomic(path) as part:
        figure.savefig(part, format='png', dpi=120, bbox_inches='tight')


def draw_masks(out, models):
    """Draw masks-{model}.jpg of the models of this repository, and of others at their own size."""
    from projects.crate.study.images import packaged_photographs

    paths = [path for path in packaged_photographs() if path.name in PHOTOS]
    with tempfile.NamedTemporaryFile('w', suffix='.txt') as photos:
        photos.write('\n'.join(map(str, sorted(paths, key=lambda path: path.name))))
        photos.flush()
        draw = ['tools/analysis_tools/figures.py', 'masks', photos.name]
        commands = Commands('update_pictures')
        commands.run(*draw, *MODELS, '--size', 128, 128, '--out', out)
        if models:
            commands.run(*draw, *models, '--out', out)


def draw_curves(path):
    """Draw the curves of docs/experiments/emergence.md from its results."""
    from projects.crate.files import atomic
    from projects.crate.study.experiment import curves, read_results

    rows, _ = read_results(RESULTS)
    with atomic(path) as part:
        curves(rows, SIZES[-1]).savefig(part, format='png', dpi=120)


def copy_demo(page, out):
    """Take the pictures of both models out of the demo's page."""
    from projects.crate.files import atomic

    if not page.is_file():
        raise _cli.mistake(f'page of the demo not found: {page}')
    text = page.read_text()
    for name in ('CRATE', 'ViT'):
        found = re.search(rf'src="data:image/png;base64,([^"]*)" alt="{name}, last layer', text)
        if not found:
            raise _cli.mistake(f'{page}: no picture of {name}; `make demo` has not finished')
        with atomic(out / f'demo-{name.lower()}.png') as part:
            part.write_bytes(base64.b64decode(found[1]))


def photograph_page(chromium, path):
    """Photograph the live page after a click into the middle of its first photograph."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    from projects.crate.files import atomic

    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [sys.executable, 'tools/app.py', '--port', str(port)]
    server = subprocess.Popen(command, cwd=_cli.ROOT, stdout=subprocess.PIPE, text=True)
    try:
        if not any(line.startswith('app: open ') for line in server.stdout):  # its end is the end of the server
            raise _cli.mistake('tools/app.py does not start: see above')
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(**PAGE)
            page.set_default_timeout(PATIENCE)
            page.goto(f'http://127.0.0.1:{port}')
            pictures = page.locator('#attention0 img, #attention1 img')
            page.wait_for_selector('#components1 img')
            before = [picture.get_attribute('src') for picture in pictures.all()]
            page.click('#shown img')
            page.wait_for_function(CHANGED, arg=before)
            page.wait_for_timeout(STILL)
            data = page.screenshot()
            browser.close()
    finally:
        server.terminate()
        server.wait(60)
    with atomic(path) as part:
        Image.open(io.BytesIO(data)).convert('RGB').quantize(128).save(part, format='png', optimize=True)


if __name__ == '__main__':
    sys.exit(main())
