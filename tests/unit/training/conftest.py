from typing import Any

import pytest

from support.training_rows import tiny_model


@pytest.fixture
def model() -> Any:
    return tiny_model()
