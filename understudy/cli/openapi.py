"""``understudy openapi``: the description of the HTTP interface, without a running server."""

import json

import click

from understudy.http.app import create_app
from understudy.http.openapi import document, to_yaml

_EPILOG = """\b
Examples:
  understudy openapi > openapi.json
  understudy openapi --yaml
"""


@click.command(epilog=_EPILOG, short_help="Print the OpenAPI document.")
@click.option("--yaml", "as_yaml", is_flag=True, help="As YAML.")
def openapi(as_yaml: bool) -> None:
    """Print the OpenAPI 3.1 document, made from the routes: what the server answers with at /openapi.json."""
    described = document(create_app())
    click.echo(to_yaml(described) if as_yaml else json.dumps(described, indent=2, ensure_ascii=False))
