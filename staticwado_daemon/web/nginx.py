"""The nginx configuration, written from the URL table into `nginx.site.template`."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from textwrap import indent
from typing import Literal, Self

from staticwado_daemon.archive import routes
from staticwado_daemon.archive.routes import Accept, Resource
from staticwado_daemon.archive.sharing import Sharing
from staticwado_daemon.errors import ConfigError
from staticwado_daemon.web import ohif as viewer
from staticwado_daemon.web.accounts import Workers, workers
from staticwado_daemon.web.directives import (
    absolute,
    add_headers,
    block,
    indented,
    quote,
    set_variables,
    variable,
    when,
    with_variables,
)


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a server listens; the host "*" is every address of the machine."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read HOST:PORT, [IPv6]:PORT or PORT.

        Raises:
            ConfigError: if it is anything else.
        """
        match = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]+|\*|):)?([0-9]{1,5})", text)
        if not match or not 0 < int(match[2]) < 65536:
            raise ConfigError(f"can't listen on {text!r}: say HOST:PORT, such as 127.0.0.1:8080")
        return cls((match[1] or "*").strip("[]"), int(match[2]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def exposure_warning(listen: str) -> str | None:
    """One sentence if `listen` lets other machines in, else None.

    Raises:
        ConfigError: if `listen` isn't HOST:PORT.
    """
    if Listen.parse(listen).is_loopback:
        return None
    return (
        f"{listen} can be reached from other machines, and whoever reaches it can read every study: "
        "let nginx ask for a login and speak TLS (its configuration ends with how), or listen on 127.0.0.1"
    )


Form = Literal["prefix", "system", "site"]
"""For which nginx a configuration is: one of one's own, that of the distribution, or that one beside other sites."""


def nginx_config(
    root: Path,
    listen: str,
    ohif: Path | None = None,
    allow_origin: str | None = None,
    *,
    group: str | None = None,
    form: Form = "prefix",
) -> str:
    """The nginx configuration for the tree in `root`.

    As "prefix" it is a whole nginx.conf, complete in itself, for `nginx -p PREFIX -c FILE`, and made by root it names
    the user of nginx, see `workers`. As "system" it is for /etc/nginx/nginx.conf: pid file, logs and temporary files
    stand where the distribution has them, and the user is always named. As "site" it is what the distribution's own
    nginx.conf includes: a server with its maps. Web pages of `allow_origin` may read the tree as well, see
    `archive.sharing`.

    Raises:
        ConfigError: if `listen` isn't HOST:PORT, `allow_origin` isn't an origin, or a path can't be written in an
            nginx configuration.
    """
    system = form != "prefix"
    user = workers(root, group, system=system) if system or os.geteuid() == 0 else None
    return render(root, listen, ohif, user, allow_origin, form=form)


_HEAD = """\
# DICOMweb and the OHIF viewer from plain files. Nothing here is dynamic, and nothing can be written.
#
# Made by `staticwado nginx-config` from the URL table of staticwado; make it again rather than edit it.
# Needs nginx 1.18 or later with gzip_static and gunzip, which Debian's package "nginx" has, and nothing else.
"""
_IN_PREFIX = {
    "usage": """\
#   nginx -p PREFIX -c FILE            start; pid, logs and temporary files stand in the directory PREFIX
#   nginx -p PREFIX -c FILE -s quit    stop""",
    "pid": "nginx.pid",
    "logs": "",
    "temporary": "\n".join(f"{kind}_temp_path {kind}_temp;" for kind in "client_body proxy fastcgi uwsgi scgi".split()),
}
_IN_SYSTEM = {
    "usage": """\
# It is for /etc/nginx/nginx.conf, in place of the one that Debian has there:
#
#   nginx -t && systemctl reload nginx""",
    "pid": "/run/nginx.pid",
    "logs": "/var/log/nginx/",
    "temporary": "# Temporary files stand where the distribution has them.",
}
_AS_SITE = {
    "usage": """\
# It is for the nginx that Debian has, as /etc/nginx/conf.d/staticwado.conf, or in sites-available with a link to it in
# sites-enabled. That nginx's workers are @account, and read the tree through its group, so they have to be in it:
#
#   usermod -aG @group @account
#   nginx -t && systemctl reload nginx
#
# One nginx takes one such file.""",
    "logs": "/var/log/nginx/staticwado-",
}

_CONDITIONAL = ("Cache-Control", "Vary", "Content-Security-Policy", "Allow")


def render(
    root: Path,
    listen: str,
    ohif: Path | None,
    user: Workers | None,
    allow_origin: str | None = None,
    *,
    form: Form = "prefix",
) -> str:
    """The configuration as a pure function of its arguments; without a `user` nginx runs as whoever starts it.

    Raises:
        ConfigError: as `nginx_config`.
    """
    values = _values(root, listen, ohif, Sharing.with_origin(allow_origin))
    if form == "site":
        account = user.user if user else "www-data"
        group = user.group if user and user.group != "root" else "GROUP"  # nobody is to join root's
        usage = _fill(_AS_SITE["usage"], {"account": account, "group": group})
        return f"{_HEAD}#\n{usage}\n\n{_fill(_template('nginx.site.template'), {**values, **_AS_SITE})}"
    place = _IN_SYSTEM if form == "system" else _IN_PREFIX
    site = _fill(indent(_template("nginx.site.template"), "  "), {**values, **place})
    whole = {**place, "user": _user(user) if user else "", "site": site.rstrip()}
    return f"{_HEAD}#\n{_fill(_template('nginx.conf.template'), whole)}"


def _template(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Put values in the place of @name and @{name}; one alone on its line has each of its own lines indented so.

    @@ is an @.
    """

    def value(match: re.Match[str]) -> str:
        if match["block"]:
            return indent(values[match["block"]], match["margin"])
        return values[match["name"] or match["braced"]] if match[0] != "@@" else "@"

    places = r"^(?P<margin> *)@(?P<block>\w+)$|@(?P<name>\w+)|@\{(?P<braced>\w+)\}|@@"
    return re.sub(places, value, template, flags=re.MULTILINE)


def _values(root: Path, listen: str, ohif: Path | None, sharing: Sharing) -> dict[str, str]:
    """What stands in the server, whichever nginx it is in."""
    conditional = (*_CONDITIONAL, *sharing.answer, *sharing.preflight)
    unset = {name: routes.COMMON_HEADERS.get(name, "") for name in (*conditional, "No-Match")}
    common = {name: value for name, value in routes.COMMON_HEADERS.items() if name not in conditional}
    return {
        "listen": str(Listen.parse(listen)),
        "later_page": routes.LATER_PAGE,
        "asks_for_json": routes.ASKS_FOR_JSON,
        "filters": "\n".join(_filters()),
        "downloads": "\n".join(_downloads()),
        "prefix": routes.PREFIX,
        "methods": "|".join(routes.METHODS),
        "allow": ", ".join(routes.METHODS),
        "refused_path": quote(routes.REFUSED_PATH),
        "common_headers": "\n".join(add_headers(common.items())),
        "conditional_headers": "\n".join(add_headers((name, variable(name)) for name in conditional)),
        "file_headers": "\n".join(add_headers((name, _of_file(name)) for name in _file_headers())),
        "unset": "\n".join(set_variables(unset)),
        "sharing": "\n".join(_sharing(sharing)),
        "preflight": "\n".join(when("$request_method = OPTIONS", [*set_variables(sharing.preflight), "return 204;"])),
        "app_config_url": viewer.APP_CONFIG_URL,
        "app_config_type": viewer.APP_CONFIG_TYPE,
        "app_config_cache": viewer.CACHE_NAMED,
        "app_config": quote(viewer.APP_CONFIG),
        "viewer": _viewer(ohif),
        "root": absolute(root),
        "resources": "\n\n".join(_location(resource) for resource in routes.RESOURCES),
    }


def _user(user: Workers) -> str:
    """The directive for whom the workers run as, with why it is them."""
    if user.user == "root":
        why = (
            "# The owner of the tree, which is closed to all others. The workers run as root for it, with every right\n"
            "# on this machine. A tree that a user of its own makes, or that has a group for its readers\n"
            "# (staticWadoConfig.group), does without."
        )
    elif user.own_it:
        why = "# The owner of the tree, which is closed to all others."
    else:
        why = "# The workers read the tree through its group, and can't write there."
    return f"\n{why}\nuser {user};"


def _location(resource: Resource) -> str:
    """The location block of one row of the table."""
    lines = [f"default_type {quote(resource.files[0].media_type)};"]
    lines += set_variables({"Cache-Control": resource.cache, **resource.headers})
    if resource.ranges:
        lines.append("max_ranges 1;")
    if resource.accept is not Accept.ANY:
        comparison = "=" if resource.accept is Accept.JSON else "!="
        lines += when(f'$asks_for_json {comparison} ""', ["return 404;"])
    if resource.query:
        lines += when('$later_page != ""', ["return 204;"])
    if resource.filter:
        one = _one(resource.filter.uid)
        path = with_variables(resource.filter.path.replace(f"{{{resource.filter.uid}}}", one))
        lines += when(f'{one} != ""', [*set_variables({"No-Match": "yes"}), f"rewrite ^ {path} break;"])
    paths = [with_variables(file.path) for file in resource.files]
    if resource.gzip:
        # try_files can't see X where only X.gz exists, so such a resource has one file alone.
        [path] = paths
        lines.append(f"rewrite ^ {path} break;")
    else:
        types = {Path(file.path).suffix[1:]: quote(file.media_type) for file in resource.files}
        named = (f"{media_type} {extension};" for extension, media_type in types.items())
        lines += ["types {", *indented(named), "}"] if len(paths) > 1 else []
        lines += ["gzip_static off;", f"try_files {' '.join(paths)} =404;"]
    return "\n".join((f"# {resource.name}", *block(f"location ~ {quote(resource.pattern)}", lines)))


def _sharing(sharing: Sharing) -> Iterator[str]:
    if not sharing.answer:
        return iter(("# Only pages of this server can read what it sends: `--allow-origin` lets others in.",))
    return when(f'$uri ~ "^{routes.PREFIX}(?:/|$)"', set_variables(sharing.answer))


def _filters() -> Iterator[str]:
    """Maps from query arguments to `$one_study` and so on: the single UID that is asked for, or nothing."""
    for rule in dict.fromkeys((r.filter.uid, r.filter.arguments) for r in routes.RESOURCES if r.filter):
        uid, (first, *others) = rule
        wanted = f"$arg_{first}"
        for name in others:
            yield from block(f"map {wanted} $wanted_{uid}", [f'"" $arg_{name};', f"default {wanted};"])
            wanted = f"$wanted_{uid}"
        yield from block(f"map {wanted} {_one(uid)}", ['default "";', f'"~^{routes.UID_PATTERN}$" {wanted};'])


def _downloads() -> Iterator[str]:
    """Maps from the file that answers to the headers by which a browser saves it and never shows it.

    nginx looks them up when it makes the answer's headers, and so for the file that `try_files` has found.
    """
    for name, values in _file_headers().items():
        lines = ['default "";', *(f"{quote(_ending(path))} {quote(value)};" for path, value in values.items())]
        yield from block(f"map $uri {_of_file(name)}", lines)


def _file_headers() -> dict[str, dict[str, str]]:
    """The headers that depend on the file that answers: by name, from its path to the value."""
    headers: dict[str, dict[str, str]] = {}
    for file in (file for resource in routes.RESOURCES for file in resource.files):
        for name, value in file.headers.items():
            headers.setdefault(name, {})[file.path] = value
    return headers


def _ending(path: str) -> str:
    """A pattern that finds the last two names of a path of the table."""
    return f"~/{re.escape('/'.join(path.split('/')[-2:]))}$"


def _of_file(header: str) -> str:
    return f"$file_{variable(header)[1:]}"


def _viewer(ohif: Path | None) -> str:
    if ohif is None:
        return "\n".join(("# None was named when this was made.", "gzip off;", *block("location /", ["return 404;"])))
    named = {"Cache-Control": viewer.CACHE_NAMED, "Vary": "Accept-Encoding"}
    hashed = {**named, "Cache-Control": viewer.CACHE_HASHED}
    types = (f"{media_type} {extension};" for extension, media_type in viewer.MEDIA_TYPES.items())
    compressible = (viewer.MEDIA_TYPES[extension] for extension in viewer.COMPRESSIBLE if extension != "html")
    return "\n".join(
        (
            f"root {absolute(ohif)};",
            "default_type application/octet-stream;",
            "types {",
            *indented(types),
            "}",
            "gzip_static on;  # made beforehand; the rest of the gzip lines are for a viewer without such files",
            "gzip on;",
            "gzip_min_length 1024;",
            f"gzip_types {' '.join(dict.fromkeys(compressible))};",
            "max_ranges 1;",
            "",
            *block(
                "location /", [*set_variables(named), "try_files $uri /index.html;  # pages such as /viewer and /tmtv"]
            ),
            *block(f"location ~ {quote(viewer.HIDDEN)}", ["return 404;"]),
            *block(f"location ~ {quote(viewer.HASHED_NAME)}", [*set_variables(hashed), "try_files $uri =404;"]),
            *block(f"location ~ {quote(viewer.HAS_EXTENSION)}", [*set_variables(named), "try_files $uri =404;"]),
        )
    )


def _one(uid: str) -> str:
    return f"$one_{uid}"
