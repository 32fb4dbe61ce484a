"""Models as files for other programs: ONNX, and the .pt2 of ``torch.export``, with checked results."""

import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..checkpoints import fill, read_weights
from ..engine.mistakes import mistakes_of
from ..errors import ArgumentError, MissingPackageError, UnsupportedError
from ..files import atomic
from ..models.features import choose_facet
from ..models.observe import check_layers, observe
from .complexity import build
from .observer import Observer, normalisation

SUFFIXES = {'.onnx': ('onnx', 'onnxscript', 'onnxruntime'), '.pt2': ()}  # packages that write and run a file
TOLERANCE = 1e-3  # of the largest absolute output


class Deployed(nn.Module):
    """A model with the mean, std and order of channels of a data preprocessor's config.

    outputs = model((image - mean) / std), image RGB of 0 to 255.
    """

    def __init__(self, model: nn.Module, data_preprocessor: dict) -> None:
        super().__init__()
        self.model = model
        cfg = normalisation(data_preprocessor)
        self.takes_bgr = not cfg['bgr_to_rgb']
        mean, std = cfg['mean'] or [0.0] * 3, cfg['std'] or [1.0] * 3
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for images (B, 3, H, W), float32, RGB, 0 to 255."""
        outputs = self.model(((image.flip(1) if self.takes_bgr else image) - self.mean) / self.std)
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


class PatchFeatures(nn.Module):
    """Features of the patches, (B, d, h w), which MaskCut cuts; arguments as of ``MaskCutDetector``."""

    def __init__(
        self, backbone: nn.Module, layer: int | Sequence[int] = -1, facet: str | None = None, centred: bool = False
    ) -> None:
        super().__init__()
        self.backbone, self.layers = backbone, [layer] if isinstance(layer, int) else [*layer]
        check_layers(backbone, self.layers)
        self.facet, self.centred = choose_facet(backbone, facet), centred

    def forward(self, image: Tensor) -> Tensor:
        """Return the features for normalised images (B, 3, H, W)."""
        with observe(self.backbone, self.layers, outputs=self.facet == 'token') as seen:
            self.backbone(image)
        return seen.patches(self.layers, self.facet, self.centred).mT


def load(cfg: Config, checkpoint: str, output: str | None = None) -> Deployed:
    """Build the part of a config's model that gives ``output``, with the weights of a checkpoint, in evaluation mode.

    ``output`` is 'logits' of a classifier, (B, classes); 'backbone': what the backbone returns; or 'maskcut': the
    features that a MaskCutDetector with the config's ``layer``, ``facet`` and ``centred`` cuts, (B, d, h w). None:
    'logits' for a classifier, 'maskcut' for a MaskCutDetector, else 'backbone'.
    """
    model = cfg.get('model') or {}
    name = str(model.get('type')).rsplit('.', 1)[-1]
    output = output or dict(MaskCutDetector='maskcut', ImageClassifier='logits').get(name, 'backbone')
    if output == 'logits':
        if name != 'ImageClassifier' or not model.get('head'):
            raise ArgumentError(
                f'{cfg.filename}: no logits: the model is no ImageClassifier with a head; use --output backbone'
            )
        with mistakes_of(cfg):
            module = build(cfg, 'cpu')
        fill(module, read_weights(checkpoint), absent=())
    else:
        module = Observer.from_config(cfg, checkpoint, 'cpu').backbone
    if output == 'maskcut':
        module = PatchFeatures(module, **{key: model[key] for key in ('layer', 'facet', 'centred') if key in model})
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    return Deployed(module, preprocessor).eval().requires_grad_(False)


def export(model: nn.Module, out: Path, image: Tensor, free_size: bool = False) -> float:
    """Write a model as ``.onnx`` or ``.pt2`` with a free batch; return the largest difference of its outputs.

    The new file runs on ``image``, and on three copies of it. It gets its name only if the results agree.

    ``model`` takes images (B, 3, H, W) and returns a tuple of tensors; ``image`` is an example (1, 3, H, W). With
    ``free_size`` height and width are free, too. Results that differ by more than 0.1% of the largest output, or that
    are not finite, are an UnsupportedError.
    """
    check_target(out)
    # torch.export makes a constant of a batch of 1, and of a size of 1
    example, free = image.repeat(2, 1, 1, 1), torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free} if free_size else {0: free},)
    with atomic(out) as part, torch.no_grad():
        program = torch.export.export(model, (example,), dynamic_shapes=shapes, strict=False)
        _save(program, part, out.suffix)
        run = _runner(part, out.suffix)
        batches = [image, image.repeat(3, 1, 1, 1)]
        if free_size:
            batches.append(image[..., : image.shape[2] * 3 // 4, :])
        difference, largest = _compare(model, run, batches)
        if not difference <= TOLERANCE * largest:
            raise UnsupportedError(
                f'{out}: not written: outputs differ by {difference:.3g} (largest output {largest:.3g})'
            )
    return difference


def check_target(out: Path) -> None:
    """Refuse a file that cannot be written or checked, before any work."""
    if out.suffix not in SUFFIXES:
        raise ArgumentError(f'{out}: the name ends in {" or ".join(SUFFIXES)}')
    if missing := [name for name in SUFFIXES[out.suffix] if find_spec(name) is None]:
        raise MissingPackageError(f'{out}: ONNX needs {" and ".join(missing)}: pip install {" ".join(missing)}')


def _save(program: torch.export.ExportedProgram, path: Path, suffix: str) -> None:
    if suffix == '.pt2':
        with path.open('wb') as file:  # by name torch demands the suffix
            torch.export.save(program, file)
    else:
        names = dict(input_names=['image'], external_data=False, verbose=False)
        torch.onnx.export(program, f=str(path), dynamo=True, **names)


def _runner(path: Path, suffix: str) -> Callable[[Tensor], Sequence[Tensor]]:
    """Return a function that runs a file."""
    if suffix == '.pt2':
        with path.open('rb') as file:
            return torch.export.load(file).module()
    import onnxruntime  # optional

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda image: [torch.from_numpy(output) for output in session.run(None, {'image': image.numpy()})]


def _compare(model: nn.Module, run: Callable, batches: Sequence[Tensor]) -> tuple[float, float]:
    """Return the largest difference of the outputs, and the largest absolute output; NaN: some output is not finite."""
    pairs = [pair for batch in batches for pair in zip(run(batch), model(batch), strict=True)]
    if any(actual.shape != expected.shape for actual, expected in pairs):  # a difference would repeat the smaller one
        return math.inf, 0.0
    differences = [(actual - expected).abs().max().item() for actual, expected in pairs]
    if not all(map(math.isfinite, differences)):  # max() would pass over a NaN
        return math.nan, math.nan
    return max(differences), max(expected.abs().max().item() for _, expected in pairs)
