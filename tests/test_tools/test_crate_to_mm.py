import argparse
import hashlib
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import load_checkpoint
from reference import DINOViT, released_logits, released_weights
from tiny_models import BUILDERS, classifier
from toy_runs import load_tool

ROOT = Path(__file__).resolve().parents[2]
main = load_tool('model_converters/crate_to_mm')
SIZES = dict(dim=24, depth=2, patch=4, side=3, classes=5)


def prefixed(weights):
    return {f'module.{key}': value for key, value in weights.items()}


LAYOUTS = {
    'crate_in1k': lambda: {'epoch': 200, 'state_dict': prefixed(released_weights(**SIZES))},
    'emergence_21k': lambda: {'model': released_weights(**SIZES), 'epoch': 90},
    'emergence_21k_two_layers': lambda: {'model': released_weights(**SIZES, hidden=24)},
    'alpha': lambda: released_weights(**SIZES, alpha=True),
}


def refused(capsys, *arguments):
    """The one line on stderr."""
    assert main([*map(str, arguments)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def files(tmp_path):
    """Source and destination; the source is one of the released layouts."""

    def write(layout):
        torch.save(LAYOUTS[layout](), tmp_path / 'released.pth')
        return str(tmp_path / 'released.pth'), str(tmp_path / 'out' / 'converted.pth')

    return write


def convert(src, dst, *options):
    assert main([src, dst, '--heads', '3', *options]) == 0
    return torch.load(dst, weights_only=True)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_converts_and_reports_every_key(layout, files, capsys):
    src, dst = files(layout)
    checkpoint = convert(src, dst)
    report = capsys.readouterr().out
    source = LAYOUTS[layout]()
    source = source.get('state_dict') or source.get('model') or source
    for key, value in source.items():
        line = next(line for line in report.splitlines() if f' {key.removeprefix("module.")} ' in line)
        assert str(tuple(value.shape)) in line
    for key in checkpoint['state_dict']:
        assert f' {key} ' in report
    meta = checkpoint['meta']
    assert meta['num_heads'] == 3
    assert meta['arch'] == dict(embed_dims=24, num_heads=3, num_layers=2)
    assert (meta['patch_size'], meta['img_size'], meta['source']) == (4, 12, 'released.pth')
    assert meta['source_sha256'] == hashlib.sha256(Path(src).read_bytes()).hexdigest()
    assert ('no head.fc' in report) == (layout == 'emergence_21k_two_layers')
    assert [path.name for path in Path(dst).parent.iterdir()] == ['converted.pth']


@pytest.mark.parametrize('layout', ['crate_in1k', 'alpha'])
def test_the_printed_config_works(layout, files, capsys):
    src, dst = files(layout)
    convert(src, dst)
    namespace = {}
    exec(capsys.readouterr().out.split('\n\n')[-1], namespace)
    model = classifier(namespace['model']['backbone'], 24)
    model.init_weights()
    images = torch.randn(2, 3, 12, 12)
    source = LAYOUTS[layout]()
    weights = {key.removeprefix('module.'): value for key, value in source.get('state_dict', source).items()}
    with torch.no_grad():
        logits = model.eval().backbone(images)[0] @ weights['mlp_head.1.weight'].T + weights['mlp_head.1.bias']
    torch.testing.assert_close(logits.double(), released_logits(weights, images, heads=3), atol=1e-5, rtol=0)


@pytest.mark.parametrize('library', BUILDERS)
def test_loads_through_init_cfg_in_every_library(library, files):
    """Images of another, non-square size: the positions are interpolated on loading."""
    src, dst = files('emergence_21k')
    checkpoint = convert(src, dst)
    init_cfg = dict(type='Pretrained', checkpoint=dst, prefix='backbone.')
    backbone = {**checkpoint['meta']['backbone'], 'img_size': (24, 16), 'init_cfg': init_cfg}
    model = BUILDERS[library](backbone, dim=24)
    model.init_weights()
    loaded = model.backbone.state_dict()
    for key, value in checkpoint['state_dict'].items():
        name = key.removeprefix('backbone.')
        if name == 'pos_embed':
            assert loaded[name].shape == (1, 1 + 6 * 4, 24)
            assert torch.equal(loaded[name][:, 0], value[:, 0])
        else:
            assert torch.equal(loaded[name], value), key
    assert len(loaded) == len(checkpoint['state_dict'])


def test_a_classifier_loads_backbone_and_head(files):
    src, dst = files('crate_in1k')
    checkpoint = convert(src, dst, '--head')
    model = classifier(checkpoint['meta']['backbone'], 24).eval()
    load_checkpoint(model, dst, strict=True)
    images = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        logits = model(images)
    expected = released_logits(released_weights(**SIZES), images, heads=3)
    torch.testing.assert_close(logits.double(), expected, atol=1e-5, rtol=0)


def test_refuses_code_in_a_pickle(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    src = tmp_path / 'evil.pth'
    torch.save({'model': released_weights(**SIZES), 'args': Evil()}, src)
    line = refused(capsys, src, tmp_path / 'converted.pth', '--heads', 3)
    assert re.match(r'crate_to_mm: .*evil\.pth: refused, .*exec', line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['evil.pth']


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'checkpoint not found: .*released.pth'),
        (b'', 'released.pth: it is empty'),
        (b'# not a checkpoint', 'released.pth: it is damaged, or neither torch.save nor safetensors wrote it'),
        ('half', 'released.pth: its end is missing'),
    ],
)
def test_unreadable_files(content, message, files, capsys):
    src, dst = files('alpha')
    whole = Path(src).read_bytes()
    Path(src).unlink()
    if content is not None:
        Path(src).write_bytes(whole[: len(whole) // 2] if content == 'half' else content)
    assert re.search(message, refused(capsys, src, dst, '--heads', 3))


def test_a_failed_conversion_leaves_the_destination_alone(files, monkeypatch):
    src, dst = files('alpha')
    before = convert(src, dst)['meta']

    def full_disk(checkpoint, path):
        Path(path).write_bytes(b'half a file')
        raise OSError('No space left on device')

    monkeypatch.setattr(torch, 'save', full_disk)
    with pytest.raises(OSError, match='No space left'):
        main([src, dst, '--heads', '3', '--head'])
    assert torch.load(dst, weights_only=True)['meta'] == before
    assert [path.name for path in Path(dst).parent.iterdir()] == ['converted.pth']


def test_a_checkpoint_of_a_dino_training(tmp_path, capsys):
    """With the options beside the weights, in a type that torch refuses by itself."""
    src, dst, vit = tmp_path / 'dino.pth', tmp_path / 'vit.pth', DINOViT()
    teacher = {f'backbone.{key}': value for key, value in vit.state_dict().items()}
    torch.save(dict(teacher=teacher, epoch=100, args=argparse.Namespace(arch='vit_small', patch_size=4)), src)
    backbone = convert(str(src), str(dst))['meta']['backbone']
    assert 'ViT: arch' in capsys.readouterr().out
    model = classifier({**backbone, 'init_cfg': dict(type='Pretrained', checkpoint=str(dst), prefix='backbone.')}, 24)
    model.init_weights()
    images = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(model.eval().backbone(images)[0], vit(images)[0], atol=1e-5, rtol=1e-5)
    with pytest.raises(pickle.UnpicklingError, match='argparse.Namespace'):  # allowed for that moment only
        torch.load(src, weights_only=True)


def test_destinations_that_make_no_sense(files, capsys):
    src, dst = files('alpha')
    assert 'same file' in refused(capsys, src, src, '--heads', 3)
    assert '*.pth' in refused(capsys, src, dst.replace('.pth', '.safetensors'), '--heads', 3)


def test_heads_are_not_guessed(files, capsys):
    src, dst = files('crate_in1k')
    assert 'released.pth: give --heads N' in refused(capsys, src, dst)
    assert '--arch is one of tiny, ' in refused(capsys, src, dst, '--arch', 'huge')
    assert not Path(dst).exists()
    with pytest.raises(SystemExit):  # one or the other
        main([src, dst, '--heads', '3', '--arch', 'tiny'])


def test_runs_from_the_repository_root():
    run = subprocess.run(
        [sys.executable, 'tools/model_converters/crate_to_mm.py', '--help'], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert '--arch' in run.stdout
