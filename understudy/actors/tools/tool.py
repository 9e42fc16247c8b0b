"""One tool: what the model is told of it, what arguments it takes, and what it does."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import attrs
import msgspec

from understudy.actors.inference.messages import ToolSpec
from understudy.actors.tools.messages import ToolContext


class ToolFailed(Exception):
    """The tool could not do it; the message is for the model, which may correct itself."""


class Passing(str):
    """A tool's text that is not worth keeping, such as what a server said while it was failing."""

    __slots__ = ()


class Arguments(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Base of a tool's arguments: one declaration gives both the JSON Schema and the check, so they cannot disagree."""


class AnyTool(Protocol):
    """What running a tool takes, whoever offers it. See `Tool` for what each part means."""

    @property
    def name(self) -> str:
        """As a model calls it."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that a run may take."""
        ...

    @property
    def serial(self) -> bool:
        """Whether it must not run beside others of its round."""
        ...

    @property
    def keep(self) -> float:
        """For how many seconds an answer may be given again."""
        ...

    @property
    def acts(self) -> bool:
        """Whether a run changes something, or has somebody else do so."""
        ...

    @property
    def run(self) -> Callable[[Any, ToolContext], Awaitable[str]]:
        """Do it, with arguments that `read` has checked. May raise `ToolFailed`."""
        ...

    def read(self, text: str) -> Any:
        """The arguments in the model's JSON *text*. Raises `ToolFailed`."""
        ...


@attrs.frozen
class Tool:
    """A tool. ``run`` takes the checked arguments and returns text; it may raise `ToolFailed`.

    ``timeout`` is in seconds; ``serial`` tools do not run beside others of the same round. ``keep`` is for how many
    seconds the same call by the same person may be answered from before; 0 is never, as it must be for what acts. What
    ``acts`` and leaves no line in the audit log by itself gets one from the toolbox.
    """

    name: str
    description: str
    arguments: type[Arguments]
    run: Callable[[Any, ToolContext], Awaitable[str]]
    timeout: float = 30.0
    serial: bool = False
    keep: float = 0.0
    acts: bool = False

    def spec(self) -> ToolSpec:
        """As offered to a model."""
        return ToolSpec(self.name, self.description, schema_of(self.arguments))

    def read(self, text: str) -> Arguments:
        """The arguments in the model's JSON *text*. Raises `ToolFailed` naming the field and the bound it broke."""
        try:
            return msgspec.json.decode(text.strip() or "{}", type=self.arguments)
        except msgspec.ValidationError as error:
            raise ToolFailed(f"bad arguments for {self.name}: {error}") from error
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ToolFailed(f"the arguments for {self.name} are not valid JSON: {error}") from error


def schema_of(arguments: type[Arguments]) -> Mapping[str, object]:
    """The JSON Schema of flat arguments, without references, as providers want it."""
    _, components = msgspec.json.schema_components([arguments])
    schema: dict[str, object] = dict(components[arguments.__name__])
    schema.pop("title", None)
    schema.pop("description", None)
    return schema
