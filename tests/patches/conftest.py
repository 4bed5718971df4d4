"""What the tests of patches share."""

from __future__ import annotations

import pytest
from patch_house import House


@pytest.fixture
def house(tmp_path):
    """A checkout in small: a tree with its pin, a series, a folder for the copy."""
    return House(tmp_path / "a house")
