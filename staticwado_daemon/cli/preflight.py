"""What must hold before a command begins: a mistyped root is no empty tree, and a bad setting is found by `check`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.config import Configuration


def is_tree(root: Path) -> bool:
    """Whether a tree stands in `root`, if only a copy that is served."""
    from staticwado_daemon.archive import layout

    return any((root / each).is_dir() for each in (layout.PRIVATE, "studies"))


def require_tree(root: Path) -> None:
    """Make sure that there is a tree to work with.

    Raises:
        ConfigError: if there is none in `root`.
    """
    if not is_tree(root):
        raise ConfigError(f"there is no tree in {root}: name it with --root, or with -c the configuration that does")


def nesting_errors(root: Path) -> Iterator[str]:
    """Yield a sentence if a tree in `root` would stand inside another one."""
    from staticwado_daemon.archive import layout

    for parent in root.resolve().parents:
        # A directory "restore" alone may be anybody's.
        signs = (parent / layout.PRIVATE, parent / layout.RESTORE)
        if signs[0].is_dir() or (signs[1].is_dir() and (parent / "studies").is_dir()):
            yield f"{root} is inside the tree in {parent}: name that one, or a folder outside of it"
            return


def errors(configuration: "Configuration") -> Iterator[str]:
    """Yield a sentence, perhaps twice, for each thing that a command would refuse to begin with, or would lack."""
    from staticwado_daemon.config import missing_folders, storage_errors

    if is_for_run(configuration):
        yield from run_errors(configuration)
        yield from missing_folders(configuration.daemon())
    for section in ("staticWadoConfig", "mkdicomwebConfig"):
        storage = configuration.storage(section)
        yield from storage_errors(storage)
        yield from nesting_errors(storage.root)
    yield from scp_errors(configuration)
    own = configuration.effective("dicomWebServerConfig")["allowOrigin"].value
    yield from _origin_errors("dicomWebServerConfig.allowOrigin", own)


def is_for_run(configuration: "Configuration") -> bool:
    """Whether a configuration speaks of the daemon, if only with an empty section; one for `create` alone need not."""
    return configuration.document is not None and "daemonConfig" in configuration.document.values


def run_errors(configuration: "Configuration") -> Iterator[str]:
    """Yield a sentence for each thing that `staticwado run` would refuse to begin with."""
    from staticwado_daemon.config import daemon_errors

    settings = configuration.daemon()
    yield from daemon_errors(settings)
    yield from nesting_errors(settings.storage.root)
    if settings.server:
        yield from _origin_errors("daemonConfig.serve.allowOrigin", settings.server.allow_origin)


def scp_errors(configuration: "Configuration") -> Iterator[str]:
    """Yield a sentence for each thing that `staticwado scp` would refuse to begin with."""
    from staticwado_daemon.cli.pulling import rules_of
    from staticwado_daemon.config import scp_errors
    from staticwado_daemon.dimse.node.acceptance import networks
    from staticwado_daemon.dimse.tls import server_context

    settings = configuration.scp()
    yield from scp_errors(settings)
    yield from nesting_errors(settings.root)
    try:
        networks(settings.peers)
    except ConfigError as error:
        yield f"dicomWebScpConfig.peers: {error}"
    try:
        rules_of(configuration)
    except ConfigError as error:
        yield str(error)
    if tls := settings.tls:
        try:
            server_context(
                tls.certificate,
                tls.key,
                tls.authorities,
                require_client_certificate=tls.require_client_certificate,
            )
        except ConfigError as error:
            yield f"dicomWebScpConfig.{error}"


def _origin_errors(key: str, origin: str | None) -> Iterator[str]:
    from staticwado_daemon.archive.sharing import Sharing

    try:
        Sharing.with_origin(origin)
    except ConfigError as error:
        yield f"{key}: {error}"
