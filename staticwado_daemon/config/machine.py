"""Whether this machine has what a configuration names: folders, rights, groups."""

import grp
import os
import pwd
import shlex
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from staticwado_daemon.archive import layout
from staticwado_daemon.config.values import Daemon, Scp, Storage


def storage_errors(storage: Storage) -> Iterator[str]:
    """Yield a sentence for each thing that no instance could be stored with."""
    yield from _place_errors("rootDir", storage.root)
    if not storage.state_dir.is_relative_to(storage.root):
        yield from _place_errors("daemonConfig.stateDir", storage.state_dir)
    if storage.group and not _is_group(storage.group):
        yield f"group: there is no group {storage.group!r} on this machine"


def _place_errors(key: str, path: Path) -> Iterator[str]:
    """Yield a sentence if a folder of ours neither stands there to be written to nor can be created."""
    present = next(each for each in (path, *path.parents) if os.path.lexists(each))
    if not present.is_dir():
        yield f"{key}: {present} isn't a folder"
    elif not os.access(present, os.W_OK | os.X_OK):
        yield f"{key}: {_denied(path, present)}"


def _denied(path: Path, present: Path) -> str:
    """One sentence on why a folder can't be used, of which only `present` is there, and what to do as root."""
    user = _user()
    quoted = shlex.quote(str(path))
    if present == path:
        return f"{user} may not write to {path}: `chown {user} {quoted}`, or correct the path"
    return f"{path} is missing, and {user} may not create it in {present}: `install -d -o {user} -m 750 {quoted}`"


def _user() -> str:
    """The name of whoever runs this command; a number, if that has none."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def daemon_errors(daemon: Daemon) -> Iterator[str]:
    """Yield a sentence for each thing that `staticwado run` would refuse to begin with."""
    yield from storage_errors(daemon.storage)
    has_received = os.path.isdir(daemon.drop_dir)  # noqa: PTH112 - that of Path raises where it may not look
    # What a node has received must be taken, whatever is configured.
    if not daemon.inbound and not daemon.drop_expected and not has_received:
        yield (
            "nothing to watch: name a folder in daemonConfig.inbound, such as [{dir: '/dicom'}], or what "
            "`staticwado scp` is to receive by, such as dicomWebScpConfig: {port: 11112}"
        )
    ohif = daemon.server.ohif if daemon.server else None
    if ohif and not os.path.isfile(ohif / "index.html"):  # noqa: PTH113 - likewise
        yield f"daemonConfig.serve.ohif: {ohif} holds no index.html: name an unpacked OHIF `dist` folder"
    drop = ("daemonConfig.dropDir", daemon.drop_dir)
    watched = [(f"daemonConfig.inbound[{index}].dir", folder.dir) for index, folder in enumerate(daemon.inbound)]
    private_dir = daemon.storage.root / layout.PRIVATE
    if not daemon.drop_dir.is_relative_to(private_dir):
        yield from _place_errors(*drop)
    root = daemon.storage.root.resolve()
    for key, path in [drop, *watched]:
        # Our private directory is never watched as part of the tree, so the drop folder may stand in it.
        private = (key, path) == drop and path.is_relative_to(private_dir)
        if _overlap(path.resolve(), root) and not private:
            yield f"{key} ({path}) and rootDir ({daemon.storage.root}) contain one another: keep them apart"
    for (key, path), (other_key, other) in combinations([drop, *watched], 2):
        if path.resolve() == other.resolve():
            yield f"{key} and {other_key} are the same folder: name it once"


def scp_errors(scp: Scp) -> Iterator[str]:
    """Yield a sentence for each thing that `staticwado scp` couldn't receive with."""
    yield from _place_errors("rootDir", scp.root)
    if not scp.drop_dir.is_relative_to(scp.root):
        yield from _place_errors("daemonConfig.dropDir", scp.drop_dir)
    if not scp.state_dir.is_relative_to(scp.root):
        yield from _place_errors("daemonConfig.stateDir", scp.state_dir)


def missing_folders(daemon: Daemon) -> Iterator[str]:
    """Yield a sentence for each inbound folder that isn't there: `staticwado run` waits for it, with the others."""
    for index, folder in enumerate(daemon.inbound):
        key = f"daemonConfig.inbound[{index}].dir"
        try:
            if not folder.dir.is_dir():
                yield f"{key}: {folder.dir} isn't a folder: create it or correct the path"
        except PermissionError:
            yield f"{key}: {_user()} may not enter the folders above {folder.dir}: let it, or correct the path"


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
