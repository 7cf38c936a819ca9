"""Whom nginx's worker processes run as: they are to read the tree, and to write it no more than can be helped."""

import os
import pwd
from dataclasses import dataclass
from grp import getgrgid
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workers:
    """Whom nginx's worker processes run as, by the names that its `user` takes.

    Attributes:
        user, group: the names.
        own_it: whether the tree is the user's, who then can write there too.
    """

    user: str
    group: str
    own_it: bool = True

    def __str__(self) -> str:
        return f"{self.user} {self.group}"


def workers(root: Path, group: str | None = None, *, system: bool = False) -> Workers | None:
    """Whom the workers of an nginx that root starts are to run as: whoever reads the tree, which is closed to others.

    It is the tree's owner. Where the tree has a group for its readers, and for the nginx of the distribution in any
    case, it is the web server's own account in that group, which can't write there. While there is no tree, the
    nearest directory above stands for it.

    Args:
        root: of the tree.
        group: that the tree is configured to have, by name; None for the one that it has.
        system: whether it is the nginx of the distribution.

    Returns:
        None where they have no names, as in some containers: nginx takes names only.
    """
    root = root.absolute()
    status = next(path for path in (root, *root.parents) if path.exists()).stat()
    try:
        owner = pwd.getpwuid(status.st_uid)
        own_group = getgrgid(owner.pw_gid).gr_name
        readers = group or (getgrgid(status.st_gid).gr_name if root.exists() else own_group)
    except KeyError:
        return None
    account = _web_account() if system or readers != own_group else None
    user = account or owner.pw_name
    return Workers(user, readers, own_it=user == owner.pw_name)


def workers_warning(root: Path, group: str | None = None, *, system: bool = False) -> str | None:
    """One sentence if nginx's workers would have root's rights for the tree's sake, else None; see `workers`."""
    who = workers(root, group, system=system) if system or os.geteuid() == 0 else None
    if who is None or "root" not in (who.user, who.group):
        return None
    rights = "run as root" if who.user == "root" else "be in the group root"
    why = "as the tree is root's" if root.exists() else f"as {root} isn't there yet and what is above it is root's"
    return (
        f"nginx's workers will {rights}, {why}: let a user of its own make the tree, or let "
        "staticWadoConfig.group name those who read it; then make this configuration again"
    )


def membership_warning(root: Path, group: str | None = None) -> str | None:
    """One sentence if the workers of the distribution's nginx, as it is, aren't in the group of the tree's readers."""
    who = workers(root, group, system=True)
    if who is None or who.own_it or "root" in (who.user, who.group):
        return None
    if who.group in {getgrgid(each).gr_name for each in os.getgrouplist(who.user, pwd.getpwnam(who.user).pw_gid)}:
        return None
    return f"{who.user} isn't in the tree's group and can't read it: usermod -aG {who.group} {who.user}"


def _web_account() -> str | None:
    """The account that the distribution has for web servers: Debian's, or that of nginx's own packages."""
    for name in ("www-data", "nginx"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return None
