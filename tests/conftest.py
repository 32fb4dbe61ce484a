import hypothesis
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

hypothesis.settings.register_profile('repeatable', derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile('repeatable')


@pytest.fixture(autouse=True)
def fresh_state():
    """Every test starts from one seed, and leaves none of mmengine's named singletons (a default scope!) behind."""
    torch.manual_seed(0)
    yield
    for singleton in (DefaultScope, MessageHub, MMLogger, Visualizer):
        singleton._instance_dict.clear()
