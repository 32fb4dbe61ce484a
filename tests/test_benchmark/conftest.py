import pytest
import torch


@pytest.fixture(autouse=True)
def threads():
    """The command sets their number for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
