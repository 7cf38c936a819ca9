"""What the commands that ask other DICOM nodes have in common: who we are, and whom we ask."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from staticwado_daemon.cli.options import AnyCommand, Common

if TYPE_CHECKING:
    from staticwado_daemon.config import Configuration, Scp
    from staticwado_daemon.dimse.association.requestor import Local
    from staticwado_daemon.dimse.peers import Peer


def network_options(command: AnyCommand) -> AnyCommand:
    """Give a command `--aet` and `--tls`."""
    command = click.option(
        "--tls", is_flag=True, help="TITLE@HOST:PORT speaks TLS; for nodes of aeConfig their `tls` counts."
    )(command)
    return title_option("What we call ourselves.  [default: dicomWebScpConfig.aeTitle, STATICWADO]")(command)


def title_option(text: str) -> Callable[[AnyCommand], AnyCommand]:
    """What gives a command `--aet`, with this help: it goes where the configuration has it."""
    return click.option("--aet", metavar="TITLE", callback=_title, expose_value=False, help=text)


def _title(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    from staticwado_daemon.dimse.peers import is_title

    if value is None:
        return
    if not is_title(value):
        raise click.BadParameter(f"{value!r} can't be an AE title: 1 to 16 characters of ASCII, no backslash")
    context.ensure_object(Common).settings["aeTitle"] = value


def peer_of(configuration: "Configuration", text: str, *, tls: bool = False) -> "Peer":
    """The node that is meant.

    Raises:
        ConfigError: if there is none.
    """
    from staticwado_daemon.dimse.peers import named

    return named(text, peers_of(configuration), tls=tls)


def peers_of(configuration: "Configuration") -> "dict[str, Peer]":
    """The nodes of aeConfig by AE title."""
    from staticwado_daemon.dimse.peers import Peer

    return {
        title: Peer(title, each.host, each.port, each.tls, each.description or "")
        for title, each in configuration.peers().items()
    }


def local_of(settings: "Scp", *, tls: bool) -> "Local":
    """We, as others are to see us; with the means for TLS, if it is wanted.

    Raises:
        ConfigError: if a certificate can't be used.
    """
    from staticwado_daemon.dimse.association.requestor import Local
    from staticwado_daemon.dimse.tls import client_context

    own = settings.tls
    files: tuple[Any, ...] = (own.certificate, own.key, own.authorities) if own else ()
    return Local(settings.ae_title, client_context(*files) if tls else None)


def quieten(common: Common) -> None:
    """Let nothing but an answer be printed."""
    from staticwado_daemon import log

    log.configure(common.log_level("warning"))
