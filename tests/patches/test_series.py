"""Our own series, on the real tree: in order, applying at every prefix, and written in the one canonical form."""

from __future__ import annotations

from pathlib import Path

import pytest

from llamasmith.patchset.check import check_series
from llamasmith.patchset.checkout import find_checkout
from llamasmith.patchset.series import load_series

ROOT = Path(__file__).resolve().parents[2]
# Larger than patches should be, for the reason in their headers: no part of them is right without the rest.
LARGE = frozenset({"threading-step-completion.patch"})


@pytest.fixture(scope="module")
def checkout():
    found = find_checkout(ROOT)
    if not found.tree.is_dir():
        pytest.skip("vendor/llama.cpp is not there; fetch it with: python vendor/fetch.py")
    return found


@pytest.fixture(scope="module")
def findings(checkout):
    return check_series(checkout.series, checkout.tree, checkout.pin, root=checkout.root)


@pytest.mark.parametrize("level", ["error", "warning"])
def test_the_series_is_in_order_and_every_prefix_applies(findings, level):
    accepted = {"warning": LARGE}.get(level, frozenset())
    assert [finding for finding in findings if finding.level == level and finding.patch not in accepted] == []


def test_a_patch_that_may_be_large_is_large(findings):
    assert {finding.patch for finding in findings} == LARGE


def test_the_series_is_not_empty(checkout):
    assert load_series(checkout.series)


def test_every_patch_has_the_bytes_that_export_writes(checkout):
    changed = [exported.path.name for exported in checkout.workshop().regenerate() if exported.changed]
    assert changed == [], "write them anew with: llamasmith patches export"
