import pytest
import torch


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    without = [item for item in items if "gpu" in item.keywords]
    items[:] = [item for item in items if "gpu" not in item.keywords]
    config.hook.pytest_deselected(items=without)
