"""What a tool answered, as the text that a model is shown."""

from collections.abc import Iterator

import msgspec
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)


def as_text(result: CallToolResult) -> str:
    """Its texts, and a word for each part that is none. Structured content is shown when there is nothing else."""
    text = "\n".join(_parts(result))
    if not text and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return text


def _parts(result: CallToolResult) -> Iterator[str]:
    for part in result.content:
        match part:
            case TextContent(text=text):
                yield text
            case ImageContent() | AudioContent():
                kind = "an image" if isinstance(part, ImageContent) else "a sound"
                yield f"[{kind}, {part.mime_type}, {len(part.data) * 3 // 4} bytes: not shown]"
            case ResourceLink():
                yield f"[a resource: {part.uri}{f', {part.description}' if part.description else ''}]"
            case EmbeddedResource(resource=TextResourceContents(text=text)):
                yield text
            case EmbeddedResource(resource=BlobResourceContents() as resource):
                yield f"[a resource: {resource.uri}, {len(resource.blob) * 3 // 4} bytes: not shown]"
            case _:
                yield "[something that cannot be shown]"
