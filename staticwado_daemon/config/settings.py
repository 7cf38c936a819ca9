"""The effective settings of one command: what the command line says, else the file, else the default."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from staticwado_daemon.archive import layout
from staticwado_daemon.config import check, document
from staticwado_daemon.config.document import Document
from staticwado_daemon.config.schema import BASE, MAPS, SECTIONS, Group, Key, keys
from staticwado_daemon.config.values import Daemon, Images, InboundFolder, Node, Pull, Scp, Server, Storage, Tls
from staticwado_daemon.errors import ConfigError

FILE_NAME = "static-wado.json5"
COMMAND_LINE = "command line"
DEFAULT = "default"

_DROP = f"{layout.PRIVATE}/drop"
"""Below the root, unless daemonConfig.dropDir names another place."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One effective value, paths absolute, and its origin: the command line, `file:line`, or the default."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """One valid configuration file, or none, under the options of one command line."""

    document: Document | None
    options: Mapping[str, Any]  # by key name, as given on the command line

    def effective(self, section: str) -> dict[str, Setting]:
        """Give each key of `section` its value: command line, the section, staticWadoConfig, default.

        In a section of names, each has its own object with the defaults filled in.
        """
        if section in MAPS:
            return self._named(section, MAPS[section])
        return {key.name: self._setting(section, key) for key in keys(SECTIONS[section])}

    def written(self, section: str) -> dict[str, Any]:
        """What the file says of a section."""
        written: dict[str, Any] = self.document.values.get(section, {}) if self.document else {}
        return written

    def storage(self, section: str = BASE) -> Storage:
        """How instances are stored, as `section` has it."""
        effective = self.effective(section)
        values = {name: setting.value for name, setting in effective.items()}
        root = Path(values["rootDir"])
        daemon = self._values("daemonConfig")
        return Storage(
            root=root,
            state_dir=self._state_dir(root),
            images=Images(
                content_type=values["contentType"],
                color_content_type=values["colorContentType"],
                recompress=tuple(values["recompress"]),
                recompress_color=tuple(values["recompressColor"]),
                by_name=any(effective[name].origin != DEFAULT for name in ("contentType", "colorContentType")),
                alternate=values["alternate"],
                alternate_name=values["alternateName"],
                alternate_thumbnail=values["alternateThumbnail"],
                thumb=values["thumb"],
                rendered=values["rendered"],
            ),
            group=values["group"],
            maximum_inline_public_length=values["maximumInlinePublicLength"],
            maximum_inline_private_length=values["maximumInlinePrivateLength"],
            workers=daemon["workers"],
            minimum_free_bytes=values["minFreeBytes"],
            minimum_free_inodes=values["minFreeInodes"],
        )

    def server(self) -> Server:
        """The server that `dicomwebserver` starts."""
        values = self._values("dicomWebServerConfig")
        return _server(Path(values["rootDir"]), values, values["clientDir"])

    def daemon(self) -> Daemon:
        """Everything `staticwado run` does, provided there are no `daemon_errors`."""
        values = self._values("daemonConfig")
        storage = self.storage()
        serve = values["serve"]
        return Daemon(
            storage=storage,
            inbound=tuple(InboundFolder(Path(each["dir"]), each["afterIngest"]) for each in values["inbound"]),
            drop_dir=Path(values["dropDir"]),
            drop_expected=bool(self.written("daemonConfig").get("dropDir") or self.written("dicomWebScpConfig")),
            settle_seconds=values["settleSeconds"],
            reconcile_seconds=values["reconcileSeconds"],
            incomplete_seconds=values["incompleteSeconds"],
            keep_deleted_days=values["keepDeletedDays"],
            server=_server(storage.root, serve, serve["ohif"]) if serve else None,
            metrics_port=values["metricsPort"],
        )

    def scp(self) -> Scp:
        """Everything `staticwado scp` does, provided there are no `scp_errors`."""
        values = self._values("dicomWebScpConfig")
        root, tls = Path(values["rootDir"]), values["tls"]
        same = root == self.storage().root
        return Scp(
            root=root,
            state_dir=self._state_dir(root),
            drop_dir=Path(self._values("daemonConfig")["dropDir"]) if same else root / _DROP,
            host=values["host"],
            port=values["port"],
            ae_title=values["aeTitle"],
            called_ae_titles=tuple(values["calledAeTitles"]),
            calling_ae_titles=tuple(values["callingAeTitles"]),
            peers=tuple(values["peers"]),
            tls=_tls(tls) if tls else None,
            max_associations=values["maxAssociations"],
            max_associations_per_peer=values["maxAssociationsPerPeer"],
            max_pdu_length=values["maxPduLength"],
            max_object_bytes=values["maxObjectBytes"],
            idle_seconds=values["idleSeconds"],
            artim_seconds=values["artimSeconds"],
            pull=tuple(Pull(each["ae"], each["every"], each["filter"]) for each in values["pull"]),
        )

    def peers(self) -> dict[str, Node]:
        """The nodes of aeConfig by AE title."""
        nodes = {title: setting.value for title, setting in self.effective("aeConfig").items()}
        return {
            title: Node(each["description"], each["host"], each["port"], each["tls"]) for title, each in nodes.items()
        }

    def _state_dir(self, root: Path) -> Path:
        """Where a tree's state is: what the journal of another tree knows must not be believed of this one."""
        named = self.written("daemonConfig").get("stateDir")
        if named and root == Path(Configuration(self.document, {}).effective(BASE)["rootDir"].value):
            return self._absolute(named)
        return root / layout.PRIVATE

    def _named(self, section: str, group: type[Group]) -> dict[str, Setting]:
        where = self.document.where if self.document else lambda _: DEFAULT
        return {
            name: Setting(self._complete_group(group, value), where((section, name)))
            for name, value in self.written(section).items()
        }

    def _values(self, section: str) -> dict[str, Any]:
        return {name: setting.value for name, setting in self.effective(section).items()}

    def _setting(self, section: str, key: Key) -> Setting:
        value, origin = self._chosen(section, key)
        if value is None and key.name == "workers":
            value = len(os.sched_getaffinity(0))
        elif value is None and key.name == "stateDir":
            value = str(Path(self.effective(BASE)["rootDir"].value) / layout.PRIVATE)
        elif value is None and key.name == "dropDir":
            value = str(Path(self.effective(BASE)["rootDir"].value) / _DROP)
        return Setting(self._complete(key, value), origin)

    def _chosen(self, section: str, key: Key) -> tuple[Any, str]:
        if self.options.get(key.name) is not None:
            return self.options[key.name], COMMAND_LINE
        for home in (section, BASE):
            if self.document and key.name in (written := self.written(home)):
                return written[key.name], self.document.where((home, key.name))
        return key.default, DEFAULT

    def _complete(self, key: Key, value: Any) -> Any:
        """Make paths absolute and give the keys of nested objects their defaults."""
        if value is None:
            return None
        if key.group and key.is_list:
            return [self._complete_group(key.group, item) for item in value]
        if key.group:
            return self._complete_group(key.group, value)
        if key.is_list:
            return list(value)
        return str(self._absolute(value)) if key.is_path else value

    def _complete_group(self, group: type[Group], values: Mapping[str, Any]) -> dict[str, Any]:
        return {each.name: self._complete(each, values.get(each.name, each.default)) for each in keys(group)}

    def _absolute(self, text: str) -> Path:
        base = self.document.path.parent if self.document else Path()  # without a file every path is absolute
        try:
            return Path(os.path.normpath(base / Path(text).expanduser()))
        except RuntimeError:
            raise ConfigError(f"{text}: there is no such home directory, write the path in full") from None


def _server(root: Path, values: Mapping[str, Any], ohif: str | None) -> Server:
    return Server(root, values["host"], values["port"], _path_or_none(ohif), values["allowOrigin"])


def _tls(values: Mapping[str, Any]) -> Tls:
    return Tls(
        certificate=Path(values["certificate"]),
        key=Path(values["key"]),
        authorities=_path_or_none(values["authorities"]),
        require_client_certificate=values["requireClientCertificate"],
    )


def _path_or_none(text: str | None) -> Path | None:
    return Path(text) if text else None


def find(given: Path | None) -> Path | None:
    """Find the configuration file: the given one, else the first of the usual places, else none."""
    if given is not None:
        return given.absolute()
    for folder in (Path.cwd, Path.home, lambda: Path("/etc")):
        # The current folder may be gone, or closed to whom `sudo -u` has made of somebody; not everybody has a home.
        with suppress(OSError, RuntimeError):
            place = folder() / FILE_NAME
            if place.is_file():
                return place
    return None


def load(given: Path | None = None, options: Mapping[str, Any] | None = None) -> Configuration:
    """Read and check the configuration that holds for one command.

    Args:
        given: the file of `-c`, which must then exist.
        options: values from the command line by key name (`rootDir`); None means not given. Relative paths among
            them must have been made absolute.

    Raises:
        ConfigError: if the file can't be obeyed; the first problem in full, with the number of others.
    """
    place = find(given)
    source = document.read(place) if place else None
    problems = list(check.errors(source)) if source else []
    if problems:
        rest = f" (and {len(problems) - 1} more: see `staticwado config check`)" if len(problems) > 1 else ""
        raise ConfigError(problems[0] + rest)
    return Configuration(source, options or {})
