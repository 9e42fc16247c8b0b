"""The platform on a database of its own, and somebody on it. Modules that need more of it say so themselves."""

from collections.abc import AsyncIterator

import pytest

from tests.support.platform import Caller, Platform, serving_platform
from understudy.storage.pool import Pool


@pytest.fixture
async def platform(pool: Pool) -> AsyncIterator[Platform]:
    """The running platform."""
    async with serving_platform(pool) as platform:
        yield platform


@pytest.fixture
async def mira(platform: Platform) -> Caller:
    """A user, in a workspace of her own."""
    return await platform.user()
