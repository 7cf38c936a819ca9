"""The options of `create` that say how instances are stored, under static-wado's names.

Each is a key of the configuration for one command line, so what it may be is what the key may be.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from staticwado_daemon.cli.options import Common, warn

AnyCommand = TypeVar("AnyCommand", bound=Callable[..., Any] | click.Command)


def storage_options(command: AnyCommand) -> AnyCommand:
    """Give a command the options, collected in its `Common`."""
    for each in reversed(_OPTIONS):
        command = each(command)
    return command


def _option(key: str, *names: str, metavar: str, meaning: str) -> Callable[[AnyCommand], AnyCommand]:
    def keep(context: click.Context, parameter: click.Parameter, text: str | None) -> None:
        if text is not None:
            context.ensure_object(Common).settings[key] = _checked(context, parameter, key, text)

    return click.option(*names, metavar=metavar, expose_value=False, callback=keep, help=f"{meaning} ({key})")


def _flag(key: str, name: str, meaning: str, *, value: bool) -> Callable[[AnyCommand], AnyCommand]:
    def keep(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
        if given:
            context.ensure_object(Common).settings[key] = value

    return click.option(name, is_flag=True, expose_value=False, callback=keep, help=f"{meaning} ({key})")


def _checked(context: click.Context, parameter: click.Parameter, name: str, text: str) -> Any:
    """Check a value as in a configuration file; of a list, the items have commas between them."""
    import msgspec

    from staticwado_daemon.config.check import expected
    from staticwado_daemon.config.schema import StaticWadoConfig, keys

    key = next(each for each in keys(StaticWadoConfig) if each.name == name)
    value = [item.strip() for item in text.split(",")] if key.is_list else text
    try:
        converted = msgspec.convert(value, key.annotation, strict=False)
    except msgspec.ValidationError:
        raise click.BadParameter(f"{text!r} isn't {expected(key)}", context, parameter) from None
    return list(converted) if key.is_list else converted


def _no_recompress(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Common).settings.update(recompress=["none"], recompressColor=["none"])


def _thumbnails_are_decoded(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        name = parameter.opts[0]
        warn(f"{name} changes nothing: thumbnails are always made from the decoded frames")


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _option(
        "contentType",
        "-t",
        "--content-type",
        metavar="TYPE",
        meaning="What frames are stored as: htj2k, jls, jp2, none, with loss jpeg, jls-lossy, jp2-lossy, jhc-lossy, "
        "or a Transfer Syntax UID.",
    ),
    _option("colorContentType", "-T", "--color-content-type", metavar="TYPE", meaning="The same for colour."),
    _option(
        "recompress",
        "-r",
        "--recompress",
        metavar="LIST",
        meaning="Which frames, by how they arrive, with commas: uncompressed, jp2, jpeg, jpeglossless (jll), jls, rle, "
        "jph (jhc); true for all, none.",
    ),
    _option("recompressColor", "--recompress-color", metavar="LIST", meaning="The same for colour."),
    click.option(
        "--no-recompress",
        is_flag=True,
        expose_value=False,
        callback=_no_recompress,
        help="Store all frames as they arrive: --recompress none, also for colour.",
    ),
    _option(
        "alternate",
        "--alternate",
        metavar="TYPE",
        meaning="Store the frames once more: jhcLossless, jlsLossless, or with loss jhc, jls.",
    ),
    _option("alternateName", "--alternate-name", metavar="NAME", meaning="Under this name beside the frames."),
    _flag("alternateThumbnail", "--alternate-thumbnail", "A quarter of the size, where frames are large.", value=True),
    _option(
        "maximumInlinePublicLength",
        "-m",
        "--maximum-inline-public-length",
        metavar="BYTES",
        meaning="Longer values of standard elements become bulk data.",
    ),
    _option(
        "maximumInlinePrivateLength",
        "-M",
        "--maximum-inline-private-length",
        metavar="BYTES",
        meaning="Longer values of private elements become bulk data.",
    ),
    _flag("thumb", "--no-thumb", "Make no thumbnails.", value=False),
    _flag("rendered", "--rendered", "Make pictures of all frames.", value=True),
    *(
        click.option(name, hidden=True, expose_value=False, callback=_thumbnails_are_decoded, is_flag=is_flag)
        for name, is_flag in (("--recompress-thumb", False), ("--no-recompress-thumb", True))
    ),
)
