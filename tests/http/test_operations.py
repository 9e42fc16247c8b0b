"""The platform's 89 operations: each is served, and described as it is served."""

from typing import Any

import msgspec
import pytest

from tests.support.house import routes
from tests.support.operations import PLATFORM, shape
from understudy.http.app import create_app
from understudy.http.operation import Operation

JSON = "application/json"


@pytest.fixture(scope="module")
def served() -> set[str]:
    """What the OpenAPI document lists, without the names of parameters."""
    paths = create_app().description["paths"]
    return {f"{method.upper()} {shape(path)}" for path, methods in paths.items() for method in methods}


def test_there_are_89_of_them() -> None:
    assert len(set(PLATFORM)) == 89


@pytest.mark.parametrize("operation", PLATFORM)
def test_an_operation_of_the_platform_is_described(operation: str, served: set[str]) -> None:
    method, _, path = operation.partition(" ")
    assert f"{method} {shape(path)}" in served


ANSWERED = {route.operation.id: route.operation for route in routes() if route.operation.media_type == JSON}


def says(shown: Any, example: Any) -> bool:
    """Whether all that the example says is in what is shown, in each thing within it too."""
    if isinstance(example, dict):
        return isinstance(shown, dict) and all(name in shown and says(shown[name], example[name]) for name in example)
    if isinstance(example, list):
        return isinstance(shown, list) and len(shown) == len(example) and all(map(says, shown, example))
    return bool(shown == example)


def fits(example: Any, shape: Any) -> bool:
    """Whether the shape takes the example, and knows every word of it."""
    return says(msgspec.json.decode(msgspec.json.encode(msgspec.convert(example, shape))), example)


@pytest.mark.parametrize("operation", ANSWERED.values(), ids=ANSWERED.keys())
def test_every_operation_has_examples_and_they_are_of_its_own_shapes(operation: Operation) -> None:
    answered = next(iter(operation.replies.values()))
    assert (answered is None) is (operation.reply_example is None)
    assert answered is None or fits(operation.reply_example, answered)
    assert (operation.body is None) is (operation.example is None)
    assert operation.body is None or fits(operation.example, operation.body)
