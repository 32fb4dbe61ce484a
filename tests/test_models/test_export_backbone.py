"""Exports of a backbone take batches and images of other sizes than the example, and give the results of eager code."""

import pytest
import torch
from tiny_models import crate, images

from projects.crate.errors import ArgumentError

VARIANTS = {
    'CRATE': dict(),
    'soft threshold': dict(ffn_cfg=dict(type='ISTA', threshold='soft'), out_type='raw'),
    'CRATE-alpha': dict(ffn_cfg=dict(type='ODL'), patch_embed='conv', out_type='avg_featmap'),
    'ToST': dict(attn_cfg=dict(type='TSSA'), ffn_cfg=dict(type='ODL')),
    'ViT': dict(attn_cfg=dict(type='MHSA'), ffn_cfg=dict(type='MLP'), patch_embed='conv'),
    'featmap': dict(out_type='featmap'),
    'featmap without [CLS]': dict(out_type='featmap', with_cls_token=False),
    'windows': dict(out_type='featmap', window_size=2, global_attn_indexes=()),
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
FREE = torch.export.Dim.DYNAMIC
BATCHES = [images(num=num) for num in (1, 3, 8)]
SIZES = [images(*size, num=num) for size in ((8, 12), (10, 23), (18, 9)) for num in (1, 3)]


def assert_same(function, model, batches):
    for batch in batches:
        with torch.no_grad():
            torch.testing.assert_close(function(batch)[0], model(batch)[0], rtol=1e-4, atol=1e-4)


def session(path):
    """A function that runs an ONNX file."""
    onnxruntime = pytest.importorskip('onnxruntime')
    run = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider']).run
    return lambda batch: [torch.from_numpy(output) for output in run(None, {'image': batch.numpy()})]


def to_onnx(model, example, path, **options):
    pytest.importorskip('onnx')
    if options.get('dynamo'):
        pytest.importorskip('onnxscript')
        options['external_data'] = False
    torch.onnx.export(model, (example,), str(path), input_names=['image'], verbose=False, **options)
    return session(path)


@pytest.mark.parametrize('variant', ['featmap', *SLOW[:-1]])  # windows: below
def test_program_takes_any_size(variant):
    model = crate(**VARIANTS[variant]).eval()
    shapes = ({0: FREE, 2: FREE, 3: FREE},)
    program = torch.export.export(model, (images(18, 22),), dynamic_shapes=shapes)
    assert_same(program.module(), model, SIZES)


def test_windows_refuse_a_free_size():
    model = crate(**VARIANTS['windows']).eval()
    with pytest.raises(ArgumentError, match='leave only the batch free'):
        torch.export.export(model, (images(18, 22),), dynamic_shapes=({0: FREE, 2: FREE, 3: FREE},))


@pytest.mark.slow
@pytest.mark.parametrize('variant', VARIANTS)
def test_program_takes_any_batch(variant):
    model = crate(**VARIANTS[variant]).eval()
    program = torch.export.export(model, (images(),), dynamic_shapes=({0: FREE},))
    assert_same(program.module(), model, BATCHES)


@pytest.mark.parametrize('variant', ['windows', *SLOW])
def test_trace_takes_any_batch(variant):
    model = crate(**VARIANTS[variant]).eval()
    assert_same(torch.jit.trace(model, images()), model, BATCHES)


@pytest.mark.filterwarnings('ignore')  # the exporter is deprecated
@pytest.mark.parametrize('variant', ['CRATE', 'windows', *SLOW])
def test_older_onnx_exporter_takes_any_batch(tmp_path, variant):
    model = crate(**VARIANTS[variant]).eval()
    axes = dict(image={0: 'batch'}, output={0: 'batch'})
    options = dict(dynamo=False, opset_version=17, output_names=['output'], dynamic_axes=axes)
    assert_same(to_onnx(model, images(), tmp_path / 'model.onnx', **options), model, BATCHES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('variant', 'free_size'), [(variant, free) for variant in VARIANTS for free in (False, True)][:-1]
)  # without windows of a free size, which are refused
def test_onnx_of_torch_export(tmp_path, variant, free_size):
    model = crate(**VARIANTS[variant]).eval()
    shapes = {0: FREE, 2: FREE, 3: FREE} if free_size else {0: FREE}
    example = images(18, 22) if free_size else images()
    run = to_onnx(model, example, tmp_path / 'model.onnx', dynamo=True, dynamic_shapes=(shapes,))
    assert_same(run, model, SIZES if free_size else BATCHES)
