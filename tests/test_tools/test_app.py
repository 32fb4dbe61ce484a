"""The live page, in the system's Chromium: what a user does, and what a server must refuse."""

import importlib.util
import json
import os
import re
import runpy
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pycocotools import mask as coco_mask
from toy_runs import load_tool

from projects.crate.maskcut import maskcut
from projects.crate.maskcut.postprocess import image_masks
from projects.crate.study.checkpoint_model import read_model
from projects.crate.study.observer import Observer

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run']
FLAGS += ['--disable-background-networking', '--disable-component-update', '--disable-sync']
WIDTH_OF_TEXT = """input => {
    const pen = document.createElement('canvas').getContext('2d');
    pen.font = getComputedStyle(input).font;
    return pen.measureText(input.value).width;
}"""
PATIENCE = 120_000  # milliseconds, for a loaded machine

missing = [name for name in ('gradio', 'playwright') if importlib.util.find_spec(name) is None]
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or bool(missing), reason=f'needs Chromium, gradio and playwright; missing: {missing or "Chromium"}'
)


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """The address of the tool, in a process of its own."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp('app')
    environment = dict(os.environ, OMP_NUM_THREADS='1', TMPDIR=str(folder))
    command = [sys.executable, 'tools/app.py', '--port', str(port)]
    log = folder / 'log'
    with log.open('w') as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            for _ in range(600):
                if 'app: open ' in log.read_text() or process.poll() is not None:
                    break
                time.sleep(0.2)
            assert process.poll() is None, log.read_text()
            yield f'http://127.0.0.1:{port}'
        finally:
            process.terminate()
            process.wait(60)
    assert not [*folder.glob('crate-app-*')], 'SIGTERM, too, removes the uploads'
    # Gradio itself may log one: it writes a picture again that it is sending to another user
    assert 'tools/app.py", line' not in log.read_text()


@pytest.fixture(scope='module')
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Page:
    """A user's page."""

    def __init__(self, browser, address):
        self.context = browser.new_context(viewport=dict(width=1200, height=1000))
        self.page, self.hosts, self.errors = self.context.new_page(), set(), []
        self.page.set_default_timeout(PATIENCE)
        self.page.on('request', lambda request: self.hosts.add(request.url.split('/')[2]))
        self.page.on('pageerror', lambda error: self.errors.append(error))
        self.page.goto(address)
        self.picture('#masks1')

    def picture(self, part):
        """The address of a picture: it has the hash of the content in it."""
        self.page.wait_for_selector(f'{part} img')
        return self.page.locator(f'{part} img').first.get_attribute('src')

    def wait_for_other(self, part, old):
        self.page.wait_for_function(
            '([part, old]) => document.querySelector(`${part} img`)?.getAttribute("src") !== old', arg=[part, old]
        )
        return self.picture(part)

    def text(self, part, wanted):
        self.page.wait_for_function(
            '([part, text]) => document.querySelector(part)?.innerText.includes(text)', arg=[part, wanted]
        )
        return self.page.locator(part).inner_text().strip()

    def message(self, wanted):
        self.page.wait_for_function(
            'text => document.querySelector("#message textarea, #message input").value.includes(text)', arg=wanted
        )
        return self.page.locator('#message textarea, #message input').input_value()

    def upload(self, path):
        self.page.set_input_files('#upload input[type=file]', path)


@pytest.fixture
def page(browser, server):
    opened = Page(browser, server)
    yield opened
    opened.context.close()
    assert opened.errors == []


def expected_masks(image, num_masks):
    """Masks of the shipped CRATE, at the size of the image, without the app."""
    weights = ROOT / 'docs/experiments/weights/crate-w192d5-p4_tinyimagenet100.safetensors'
    observer = Observer.from_config(read_model(weights, 'CRATE').config, str(weights))
    small = np.asarray(Image.fromarray(image).resize((128, 96), Image.Resampling.LANCZOS))
    features = torch.from_numpy(observer.features(small, [-1])[-1]).flatten(0, 1).T
    masks, _ = maskcut(features, (24, 32), num_masks=num_masks)
    return image_masks(masks.numpy(), (4, 4), (96, 128), image.shape[:2])


@needs_chromium
def test_two_models_look_at_a_photograph_and_nothing_leaves_the_machine(page, server):
    assert page.text('#note0', 'patches').endswith(page.text('#note1', 'masks: ')[-1])
    assert page.picture('#attention0') != page.picture('#attention1')
    assert page.page.locator('#heads0 img').count() >= 3
    assert {host for host in page.hosts if host} == {server.removeprefix('http://')}


@pytest.mark.slow
@needs_chromium
def test_upload_slider_click_and_download(page, tmp_path):
    photo = np.random.default_rng(0).integers(0, 60, (300, 400, 3), dtype=np.uint8)
    photo[90:210, 120:280] += 150
    Image.fromarray(photo).save(tmp_path / 'mine.png')
    before = page.picture('#attention0')
    page.upload(tmp_path / 'mine.png')
    after = page.wait_for_other('#attention0', before)
    assert page.text('#note0', '24 x 32 patches')
    page.page.wait_for_function('document.querySelector("#pick input").value === ""')  # it is not shown any more

    page.page.click('#shown img')  # its middle: the object
    patch = page.wait_for_other('#attention0', after)
    page.page.click('#cls')
    assert page.wait_for_other('#attention0', patch) == after

    vectors = page.page.locator('#vectors0 img')
    page.page.fill('#number input[type=number]', '1')
    page.page.press('#number input[type=number]', 'Enter')
    page.page.wait_for_function('document.querySelectorAll("#vectors0 .grid-wrap img").length === 1')
    assert vectors.count() >= 1

    page.page.click('#save0')
    with page.page.expect_download() as download:
        page.page.click('#json0 a')
    content = json.loads(Path(download.value.path()).read_text())
    (image,) = content['images']
    assert image == dict(id=1, file_name='mine.png', height=300, width=400)
    masks = [coco_mask.decode(each['segmentation']).astype(bool) for each in content['annotations']]
    assert np.array_equal(masks, expected_masks(photo, num_masks=1))

    page.page.click('#pick input')
    page.page.click('[role=option]:has-text("Rocket")')
    page.text('#note0', '22 x 32 patches')
    page.page.wait_for_selector('#json0 a', state='detached')
    assert 'mine.png' not in page.page.locator('#upload').inner_text()


@pytest.mark.slow
@needs_chromium
def test_broken_and_huge_files_are_one_line(page, server, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(100))
    page.upload(tmp_path / 'broken.png')
    assert page.message('broken.png') == 'broken.png cannot be shown: truncated PNG (no end chunk)'
    large = dict(name='large.png', mimeType='image/png', buffer=bytes(21 * 2**20))
    address = f'{server}/gradio_api/upload'
    assert page.context.request.post(address, multipart=dict(files=large)).status == 413
    page.page.click('#upload [aria-label="Clear"]')
    Image.new('1', (20_000, 2_000)).save(tmp_path / 'huge.png')
    page.upload(tmp_path / 'huge.png')
    assert page.message('huge.png') == 'huge.png cannot be shown: 20000 x 2000 pixels are more than 25,000,000'


@pytest.mark.slow
@needs_chromium
def test_users_do_not_mix_and_another_model_has_its_layers(browser, server, page, tmp_path):
    Image.new('RGB', (160, 80), 'red').save(tmp_path / 'red.png')
    other = Page(browser, server)
    before = page.picture('#shown')
    other.upload(tmp_path / 'red.png')
    other.text('#note0', '16 x 32 patches')
    page.page.fill('#tau input[type=number]', '0.3')
    page.page.press('#tau input[type=number]', 'Enter')
    page.text('#note0', '22 x 32 patches')
    assert page.picture('#shown') == before
    other.context.close()


@pytest.mark.slow
@needs_chromium
def test_nothing_is_wider_than_a_phone(page):
    page.page.set_viewport_size(dict(width=390, height=844))
    page.page.locator('#masks1').scroll_into_view_if_needed()
    page.picture('#masks1')
    assert page.page.evaluate('document.documentElement.scrollWidth') == 390
    menu, arrow = page.page.locator('#facet0 input'), page.page.locator('#facet0 .icon-wrap')
    assert menu.input_value() == 'default'
    width = menu.evaluate(WIDTH_OF_TEXT)
    assert menu.bounding_box()['x'] + width <= arrow.bounding_box()['x']


def test_an_upload_of_one_row(tmp_path):
    Image.new('RGB', (5000, 1), 'red').save(tmp_path / 'row.png')
    read_upload = runpy.run_path(str(ROOT / 'tools/app.py'))['read_upload']
    opened, shown, _, message = read_upload(str(tmp_path / 'row.png'))
    assert opened['image'].shape == (1, 640, 3) and shown.shape == (1, 448, 3) and message == ''


def test_dockerfile_and_space_start_the_tool():
    stages = (ROOT / 'Dockerfile').read_text().split('\nFROM ')
    assert stages[-1].startswith('crate AS app\n') and 'AS crate\n' in stages[1]  # a Space builds the last stage
    program, tool, *arguments = json.loads(re.search(r'^CMD (.*)$', stages[-1], re.MULTILINE)[1])
    args = load_tool('app').__globals__['parse_args'](arguments)
    assert (program, tool, args.host) == ('python', 'tools/app.py', '0.0.0.0')
    assert int(re.search(r'^EXPOSE (\d+)$', stages[-1], re.MULTILINE)[1]) == args.port
    _, settings, _ = (ROOT / 'tools/space/README.md').read_text().split('---\n')
    settings = yaml.safe_load(settings)
    assert (settings['sdk'], settings['app_port']) == ('docker', args.port)


def test_gradio_that_is_missing_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert load_tool('app')([]) == 1
    assert "app: the app needs Gradio: pip install 'gradio>=6,<6.18'" in capsys.readouterr().err
