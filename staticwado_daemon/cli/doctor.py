"""`staticwado doctor`: is everything as it should be?"""

import functools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.options import Common, shared
from staticwado_daemon.cli.outcomes import counted, printable
from staticwado_daemon.cli.words import wrapped
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon import config
    from staticwado_daemon.operate.doctor.daemon import Traces
    from staticwado_daemon.operate.doctor.finding import Finding, Look

_NEEDS_ATTENTION = 3
_NAME = 15  # columns
_USUAL_URL = "http://127.0.0.1:8080"
"""Where nginx listens with the configuration that `staticwado nginx-config` prints, unless told otherwise."""


_EXAMPLES = """\b
Examples:
  staticwado doctor
  staticwado doctor --url https://viewer.example
"""


@click.command(short_help="Say what isn't as it should be, and what to do.", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--url",
    metavar="URL",
    help="The web server, as a browser is to find it.  [default: daemonConfig.serve, else http://127.0.0.1:8080]",
)
@shared("-o", "--dir")
@click.pass_obj
def doctor(common: Common, url: str | None, *, as_json: bool) -> int:
    """Look at settings, rights, disk, machine, web server and daemon; a line for each, OK or what to do.

    Exit code 3 means that something needs attention. Run it as root or as the daemon's user.
    """
    from staticwado_daemon.operate.doctor.finding import examine

    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigError(f"--url {url}: say http://HOST:PORT or https://HOST")
    healthy, count, printed = True, 0, []
    for name, finding in examine(_looks(common, url)):
        healthy, count = healthy and finding.ok, count + (not finding.ok)
        printed.append({"check": name, "ok": finding.ok, "sentence": finding.sentence})
        if not as_json:
            click.echo(_line(name, finding))
    if as_json:
        click.echo(json.dumps({"healthy": healthy, "checks": printed}))
    elif healthy:
        click.echo(f"\n{click.style('healthy', fg='green')}: {counted(len(printed), 'check')}")
    else:
        need = "needs" if count == 1 else "need"
        click.echo(f"\n{click.style(f'{count} of {len(printed)}', fg='yellow')} checks {need} attention")
    return 0 if healthy else _NEEDS_ATTENTION


def _line(name: str, finding: "Finding") -> str:
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    head = f"{name:<{_NAME}} "
    first = f"  {'OK' if finding.ok else '!!'}  "
    mark = click.style("OK", fg="green") if finding.ok else click.style("!!", fg="red", bold=True)
    told = wrapped(printable(finding.sentence), first + head, " " * len(first + head), width)
    return f"  {mark}  {told.removeprefix(first)}"


def _looks(common: Common, url: str | None) -> "dict[str, Look]":
    """Every look in the order of the report; without settings that can be read, those that need none."""
    from staticwado_daemon.operate.doctor import machine
    from staticwado_daemon.operate.doctor.finding import attention

    anyhow: dict[str, Look] = {
        "clock": machine.clock,
        "codecs": machine.codecs_work,
        "worker locks": machine.locks,
    }
    try:
        configuration = common.configuration()
        settings = configuration.daemon()
    except ConfigError as error:
        broken = attention(str(error))
        return {"configuration": lambda: broken, **anyhow}
    return {
        "configuration": functools.partial(_configuration, configuration),
        **_folders(settings),
        **anyhow,
        **_daemon(settings),
        **_network(configuration),
        **_web(settings, url),
    }


def _configuration(configuration: "config.Configuration") -> "Finding":
    """Whether the settings can be obeyed and have no part that means nothing."""
    from staticwado_daemon.cli.preflight import errors
    from staticwado_daemon.config import check
    from staticwado_daemon.operate.doctor.finding import attention, fine

    document = configuration.document
    problems = [*errors(configuration), *(check.warnings(document) if document else ())]
    if problems:
        more = f" (and {len(problems) - 1} more: see `staticwado config check`)" if len(problems) > 1 else ""
        return attention(problems[0] + more)
    return fine(f"{document.path} is good" if document else "no file: the defaults hold")


def _folders(settings: "config.Daemon") -> "dict[str, Look]":
    from staticwado_daemon.cli.assembly import JOURNAL
    from staticwado_daemon.operate.doctor import disk, folders, machine

    storage = settings.storage
    who = folders.account(_owner(storage.root))
    inbound = {f"inbound {n}" if len(settings.inbound) > 1 else "inbound": e for n, e in enumerate(settings.inbound, 1)}
    looks: dict[str, Look] = {"root": functools.partial(folders.folder, storage.root, who, write=True)}
    if not storage.state_dir.is_relative_to(storage.root):
        looks["state"] = functools.partial(folders.folder, storage.state_dir, who, write=True)
    if not settings.drop_dir.is_relative_to(storage.root):
        looks["drop folder"] = functools.partial(folders.folder, settings.drop_dir, who, write=True)
    for name, each in inbound.items():
        looks[name] = functools.partial(folders.folder, each.dir, who, write=each.after_ingest == "delete")
    watched = [*(each.dir for each in settings.inbound), settings.drop_dir]
    minimum = (storage.minimum_free_bytes, storage.minimum_free_inodes)
    return {
        **looks,
        "file system": functools.partial(disk.file_system, storage.root),
        "disk": functools.partial(disk.room, storage.root, storage.state_dir / JOURNAL, *minimum),
        "inotify": functools.partial(machine.inotify, watched),
    }


def _owner(root: Path) -> int:
    """Whom the daemon runs as: the root's owner, or while there is no root whoever asks."""
    return root.stat().st_uid if root.exists() else os.geteuid()


def _traces(settings: "config.Daemon") -> "Traces":
    from staticwado_daemon.cli.assembly import JOURNAL
    from staticwado_daemon.operate.doctor.daemon import Traces

    storage = settings.storage
    return Traces(storage.root, storage.state_dir, storage.state_dir / JOURNAL)


def _daemon(settings: "config.Daemon") -> "dict[str, Look]":
    from staticwado_daemon.operate.doctor import daemon

    traces = _traces(settings)
    emptied = [each.dir for each in settings.inbound if each.after_ingest == "delete"]
    emptied += [settings.storage.root, settings.drop_dir]
    return {
        "daemon": functools.partial(daemon.works, traces, emptied),
        "journal": functools.partial(daemon.journal, traces.journal),
    }


def _network(configuration: "config.Configuration") -> "dict[str, Look]":
    """The DICOM node, where the settings speak of it; and that the daemon isn't fed by it doesn't matter."""
    from staticwado_daemon.operate.doctor import network

    if not configuration.written("dicomWebScpConfig"):
        return {}

    def works() -> "Finding":
        from staticwado_daemon.cli.node import concerns, node_of

        settings = configuration.scp()
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"{settings.ae_title}@{host}:{settings.port}"
        return network.works(settings.state_dir, address, [*concerns(settings, node_of(settings))])

    return {"DICOM node": works}


def _web(settings: "config.Daemon", url: str | None) -> "dict[str, Look]":
    from staticwado_daemon.operate.doctor import daemon, folders, serving
    from staticwado_daemon.operate.doctor.finding import attention
    from staticwado_daemon.web import accounts, nginx

    storage, server, traces = settings.storage, settings.server, _traces(settings)
    looks: dict[str, Look] = {}

    def readers() -> "Finding":
        who = accounts.workers(storage.root, storage.group, system=True)
        if who is None:
            return attention(f"the owner of {storage.root} has no name, and nginx takes names only: give it one")
        return folders.readers(storage.root, folders.member(who.user, who.group))

    if server:
        looks["port"] = functools.partial(daemon.port, server.port, traces)
        address = f"http://{nginx.Listen(_reached(server.host), server.port)}"
    else:
        looks["nginx's rights"] = readers
        address = _USUAL_URL
    if settings.metrics_port:
        looks["metrics port"] = functools.partial(daemon.port, settings.metrics_port, traces)
    site = serving.Address(
        (url or address).rstrip("/"), server.allow_origin if server else None, viewer=bool(server and server.ohif)
    )
    return {
        **looks,
        "DICOMweb": functools.partial(serving.studies, site, storage.root),
        "images": functools.partial(serving.images, site, storage.root),
        "viewer": functools.partial(serving.viewer, site),
    }


def _reached(host: str) -> str:
    """An address by which a server on this machine is reached that listens on `host`, perhaps on all of them."""
    import ipaddress

    try:
        everywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        everywhere = False
    return "localhost" if everywhere else host
