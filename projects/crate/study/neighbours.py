"""k-nearest-neighbour classification with frozen features: how good features are, without training anything."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import DataLoader

from ..errors import UserError
from ..models.observe import evaluating
from .observer import Observer

NUM_NEIGHBOURS = 20
BATCH = 250


def knn_accuracy(cfg: Config, checkpoint: Path) -> float:
    """Return the top-1 accuracy in percent of the 20 nearest training images, by the cosine of their [CLS] features.

    Neighbours vote with equal weights. The features of the training images and of the test images are the output of
    the backbone, without augmentation. ``cfg`` is the config of a classifier, with data sets in folders.
    """
    try:
        from sklearn.neighbors import KNeighborsClassifier
    except ImportError as error:
        raise UserError('k-NN needs scikit-learn: pip install scikit-learn') from error
    observer = Observer.from_config(cfg, str(checkpoint))
    tested = cfg.test_dataloader.dataset
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        known, wanted = (
            _features(observer, dict(tested, data_prefix=part.data_prefix))
            for part in (cfg.train_dataloader.dataset, tested)
        )
    neighbours = min(NUM_NEIGHBOURS, len(known[1]))
    classifier = KNeighborsClassifier(neighbours, metric='cosine', algorithm='brute').fit(*known)
    return 100 * float(classifier.score(*wanted))


@torch.no_grad()
def _features(observer: Observer, dataset: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d) and labels (n,) of all images of a data set."""
    device = next(observer.backbone.parameters()).device
    preprocessor, found = observer.preprocessor.to(device), []
    loader = DataLoader(DATASETS.build(dataset), BATCH, collate_fn=list)
    with evaluating(observer.backbone):
        for samples in loader:
            inputs = preprocessor(dict(inputs=[sample['inputs'] for sample in samples]))['inputs']
            labels = torch.cat([sample['data_samples'].gt_label for sample in samples])
            found.append((observer.backbone(inputs)[-1].cpu(), labels))
    features, labels = (torch.cat(part).numpy() for part in zip(*found))
    return features, labels
