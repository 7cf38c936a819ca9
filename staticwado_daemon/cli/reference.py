"""Options of static-wado's `mkdicomweb` and `dicomwebscp` that are none here: what always holds, what is refused.

Neither is ignored: the first change nothing because what they ask for is always so, the second say what to do instead.
docs/migration.md has all of them in its tables.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import click

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any] | click.Command)

ALWAYS: Mapping[str, str] = MappingProxyType(
    {
        "--encapsulated-image": "frames are multipart",
        "--no-single-part-image": "frames are multipart",
        "--store-multipart-bulk-data": "bulk data are multipart",
        "--no-notifications": "no notification files are written",
        "--show-progress": "a terminal shows the progress",
    }
)
"""Options that ask for what always holds."""

_FRAMES = "frames are always multipart, which is how viewers ask for them: leave it out"
_URIS = "a BulkDataURI is always relative to its study, so that a tree can move: leave it out"
_LAYOUT = "the tree's layout is fixed, web servers and peers rely on it: leave it out"

REFUSED: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        ("--hash-study-uid-path",): "nginx can't compute hashed paths and file systems hold millions of entries: leave "
        "it out; `staticwado adopt` reads such trees",
        ("-e", "--no-encapsulated-image"): _FRAMES,
        ("--single-part-image",): _FRAMES,
        ("--clean",): "static-wado never did it either: `staticwado verify --repair` finds what doesn't belong",
        ("--delete",): "say --delete-input to delete the inputs, or `staticwado delete` for what is in the tree",
        ("--delete-failed",): "a rejected file is never deleted: `staticwado rejected` lists them",
        ("--lossy",): "say by which codec: --content-type jhc-lossy, jls-lossy, jp2-lossy or jpeg",
        ("-d", "--deployments"): "`create` doesn't deploy: leave it out",
        ("--no-index",): "the list of studies is always current, it is written once after the files: leave it out",
        ("--no-verify",): "UIDs are always checked, they become paths: leave it out",
        ("--multipart",): "say --json for one object with a receipt for each file",
        ("--dcm2jpg",): "no other program is needed: say --rendered",
        ("--path-deduplicated",): _LAYOUT,
        ("--path-instances",): _LAYOUT,
        ("--prepend-bulk-data-uri",): _URIS,
        ("--expand-bulk-data-uri",): _URIS,
        ("--sop-instance-uid",): "it belongs to `staticwado thumbnail`",
        ("--series-instance-uid",): "it belongs to `staticwado thumbnail`",
    }
)
"""Options of `mkdicomweb` that are refused, with what to do instead."""

_STORED = "the daemon stores what is received: say it as {} in staticWadoConfig"

SCP_REFUSED: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        ("-t", "--content-type"): _STORED.format("contentType"),
        ("-r", "--recompress"): _STORED.format("recompress"),
        ("-a", "--ae"): "name the node in aeConfig, or write TITLE@HOST:PORT to `cstore`, `staticwado send` or `find`",
        ("--clean",): "nothing that was received is removed: `staticwado delete` takes out what should go",
    }
)
"""Options of `dicomwebscp` that are refused, with what to do instead."""

_VALUED = frozenset(
    {
        "--deployments",
        "--path-deduplicated",
        "--path-instances",
        "--prepend-bulk-data-uri",
        "--sop-instance-uid",
        "--series-instance-uid",
        "--content-type",
        "--recompress",
        "--ae",
    }
)


def reference_options(command: AnyCommand) -> AnyCommand:
    """Give a command those options of `mkdicomweb`, unseen in its help."""
    for name in ALWAYS:
        command = click.option(name, is_flag=True, hidden=True, expose_value=False)(command)
    return _refusing(command, REFUSED)


def scp_reference_options(command: AnyCommand) -> AnyCommand:
    """Give a command those options of `dicomwebscp`, unseen in its help."""
    return _refusing(command, SCP_REFUSED)


def _refusing(command: AnyCommand, refused: Mapping[tuple[str, ...], str]) -> AnyCommand:
    for names, instead in refused.items():
        option = click.option(
            *names,
            is_flag=names[-1] not in _VALUED,
            hidden=True,
            expose_value=False,
            callback=_refuser(names[-1], instead),
        )
        command = option(command)
    return command


def _refuser(name: str, instead: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def refuse(context: click.Context) -> NoReturn:
        raise click.UsageError(f"{name} isn't an option of staticwado: {instead}", context)

    def check(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value not in {None, False}:
            refuse(context)

    return check
