"""Draw the attention of fixed photographs while a model trains: the maps of arXiv 2308.16271, Figure 1, along a run."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from ..datasets.loading import LoadImageOrSkip
from ..errors import ArgumentError
from ..files import atomic
from ..models.features import adapter_of, token_grid
from ..models.observe import check_layers, evaluating, observe
from .measuring_hook import MeasuringHook

MILLISECONDS = 400  # of a picture in the animation; the last one stays longer


@HOOKS.register_module()
class AttentionHook(MeasuringHook):
    """Draw the attention of [CLS] in some photographs, all heads of one layer, every few epochs or iterations.

    It serves training runs of mmpretrain, mmdet and mmseg. After each measurement the work folder has in ``{name}/``

    - ``epoch_{n}.png`` (or ``iter_{n}.png``): a row per photograph, a column per head;
    - ``curve.json``: ``[{"step": n, "patches": ...}, ...]``; patches = exp(-sum_i a_i log a_i) is the number of patches
      over which the attention a is spread, the mean over photographs and heads.

    Every backend of the run's visualizer gets picture and scalar. At the end, ``animation.gif`` shows all pictures in
    their order.

    >>> dict(type='AttentionHook', interval=5, images=['a.jpg', 'b.jpg'], size=(224, 224))

    Args:
        images: Files of the photographs; at least one.
        size: (height, width) that they are resized to; None keeps their sizes.
        layer: 0-based index of the layer; negative ones count from the end.
        name: Name of the folder and prefix of the scalar.
        draw: Name in ``FUNCTIONS`` of a function (photographs, maps) -> picture; None draws nothing.
        **kwargs: Arguments of :class:`MeasuringHook`: ``interval``, ``by_epoch``, ``initial``, ``backbone``,
            ``use_ema``, ``data_preprocessor``.

    Raises:
        ValueError: See :class:`MeasuringHook`; or there are no photographs. Before training: the backbone has no [CLS].
        OSError: Before training: a photograph cannot be read.
        TypeError: Before training: the backbone has no attention that can be read.
        IndexError: Before training: it has no such layer.
    """

    def __init__(
        self,
        images: Sequence[str],
        size: tuple[int, int] | None = None,
        layer: int = -1,
        name: str = 'attention',
        draw: str | None = 'crate_draw_attention',
        **kwargs,
    ) -> None:
        super().__init__(name, draw, **kwargs)
        if not images:
            raise ArgumentError('AttentionHook: images is empty; name at least one photograph')
        self.images, self.size, self.layer = [*images], size, layer

    def build(self, runner: Runner) -> None:
        """Load the photographs and look at the first one, so that a mistake shows now."""
        photographs = [self._load(path) for path in self.images]
        self._loader = DataLoader(photographs, batch_size=None, collate_fn=None)
        self._backbone, preprocessor = self.find_backbone(runner, self.use_ema)
        self._preprocessor = MODELS.build(preprocessor).to(next(self._backbone.parameters()).device)
        check_layers(self._backbone, [self.layer])
        with evaluating(self._backbone):
            self._maps(photographs[0])

    def _load(self, path: str) -> np.ndarray:
        image = LoadImageOrSkip(skip=False)(dict(img_path=str(path)))['img']
        return image if self.size is None else mmcv.imresize(image, (self.size[1], self.size[0]))

    @torch.no_grad()
    def _maps(self, image: np.ndarray) -> np.ndarray:
        """Return the maps (K, h, w) of a photograph (H, W, 3) uint8 BGR."""
        inputs = torch.from_numpy(image.transpose(2, 0, 1).copy())
        batch = self._preprocessor(dict(inputs=[inputs]))['inputs']
        with observe(self._backbone, [self.layer]) as seen:
            adapter_of(self._backbone).run(self._backbone, batch)
        maps = seen[self.layer].cls_attention()[0].float().cpu()
        return maps.unflatten(-1, token_grid(self._backbone, image.shape[:2])).numpy()

    def measure(self) -> tuple[dict[str, float], list[tuple[np.ndarray, np.ndarray]]]:
        """Return {'patches': mean number of attended patches}, and (photograph in RGB, maps) of each photograph."""
        with evaluating(self._backbone):
            found = [(image[..., ::-1], self._maps(image)) for image in self._loader.dataset]
        entropy = [-(maps * np.log(np.maximum(maps, 1e-30))).sum((1, 2)) for _, maps in found]
        return dict(patches=float(np.exp(entropy).mean())), found

    def save_pictures(self, runner: Runner, folder: Path, step: int, curve: list[dict], arrays: list) -> None:
        """Write the picture of this step; after the last one, the animation."""
        self.save_picture(runner, folder, step, arrays)
        is_last = self.is_last_train_epoch(runner) if self.by_epoch else self.is_last_train_iter(runner)
        paths = [folder / f'{self.unit}_{record["step"]}.png' for record in curve]
        if is_last and step:
            frames = [Image.open(path) for path in paths if path.is_file()]  # of a resumed run, some may be elsewhere
            with atomic(folder / 'animation.gif') as part:
                times = [*[MILLISECONDS] * (len(frames) - 1), 5 * MILLISECONDS]
                options = dict(append_images=frames[1:], duration=times, loop=0)
                frames[0].save(part, format='gif', save_all=True, **options)
