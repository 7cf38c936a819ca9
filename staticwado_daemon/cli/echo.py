"""`staticwado echo`: whether another node is there and knows us."""

import click

from staticwado_daemon.cli.asking import local_of, network_options, peer_of, quieten
from staticwado_daemon.cli.options import Common, json_option, shared

_EXAMPLES = """\b
Examples:
  staticwado echo PACS
  staticwado echo ARCHIVE@10.1.2.3:104
"""


@click.command(short_help="Ask a node whether it is there and knows us.", epilog=_EXAMPLES)
@click.argument("ae", metavar="AE")
@network_options
@json_option
@shared()
@click.pass_obj
def echo(common: Common, ae: str, *, tls: bool) -> int:
    """Ask another node for nothing but an answer (C-ECHO).

    AE is the AE title of a node of aeConfig, or TITLE@HOST:PORT. Exit code 1 and a sentence say that, and why, there is
    no answer.
    """
    from staticwado_daemon.dimse.verification.echo import echo as ask
    from staticwado_daemon.errors import ConfigError, StaticwadoError

    quieten(common)
    configuration = common.configuration()
    peer = peer_of(configuration, ae, tls=tls)
    local = local_of(configuration.scp(), tls=peer.tls)
    seconds, problem = None, None
    try:
        seconds = ask(local, peer)
    except ConfigError:
        raise
    except StaticwadoError as error:
        if not common.as_json:
            raise
        problem = str(error)
    if common.as_json:
        _print_object(peer.title, peer.host, peer.port, seconds, problem)
    elif seconds is not None:
        click.echo(f"{peer} answers {local.title} in {1000 * seconds:.0f} ms")
    return 1 if problem else 0


def _print_object(title: str, host: str, port: int, seconds: float | None, problem: str | None) -> None:
    import json

    from staticwado_daemon.cli.outcomes import print_object

    told = {"title": title, "host": host, "port": port}
    milliseconds = None if seconds is None else round(1000 * seconds, 1)
    print_object(json.dumps({**told, "answers": problem is None, "milliseconds": milliseconds, "problem": problem}))
