"""The keys with which others may use the service: `tutee keys add|list|revoke`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Who or what uses the key.")]


@app.callback()
def keys() -> None:
    """Makes, lists and revokes the API keys of the service."""


@app.command()
def add(
    name: NameArgument,
    per_minute: Annotated[
        int | None, typer.Option(help="Requests a minute that it may make.", show_default=False)
    ] = None,
) -> None:
    """Makes a key and prints it, once: only its hash is kept."""
    from serving.keys import PER_MINUTE, add_key

    secret = add_key(_file(), name, PER_MINUTE if per_minute is None else per_minute)
    print(secret)
    print("keys: this is shown once; clients send it as `Authorization: Bearer KEY`", file=sys.stderr)


@app.command("list")
def list_keys() -> None:
    """Lists the names of the keys, and how many requests a minute each may make."""
    from serving.keys import Keys

    file = _file()
    made = Keys.load(file)
    for key in made.keys:
        print(f"{key.name}  {key.per_minute:,} requests a minute")
    if not made:
        print(f"keys: {file} holds none; `tutee keys add NAME` makes one")


@app.command()
def revoke(name: NameArgument) -> None:
    """Ends a key; a running service refuses it from the next request on."""
    from serving.keys import revoke_key

    revoke_key(_file(), name)
    print(f"keys: {name} is revoked")


def _file() -> Path:
    from flows.parameters import Parameters
    from flows.places import Places

    Parameters.load()  # refuses a folder that is no project
    return Places("").api_keys
