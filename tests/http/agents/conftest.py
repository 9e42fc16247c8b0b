"""Somebody with an agent."""

import pytest

from tests.http.agents.stage import NEW
from tests.support.platform import Caller, Platform


@pytest.fixture
async def mira(platform: Platform) -> Caller:
    """Somebody with an agent."""
    mira = await platform.user()
    created = await mira.call("POST", "/agents", NEW)
    assert created.status_code == 201, created.text
    return mira
