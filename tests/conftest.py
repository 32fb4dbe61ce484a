import hypothesis
import pytest
import torch
from toy_runs import forget_runs

hypothesis.settings.register_profile('repeatable', derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile('repeatable')


@pytest.fixture(autouse=True)
def fresh_state():
    """Every test starts from one seed, and leaves none of mmengine's named singletons (a default scope!) behind."""
    torch.manual_seed(0)
    yield
    forget_runs()
