"""The settings of each command as plain values, paths absolute and defaults filled in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from staticwado_daemon.config.schema import AfterIngest
from staticwado_daemon.dicom.content_types import Alternate, ContentType, SourceCoding


@dataclass(frozen=True, slots=True)
class Images:
    """What the frames of an instance become, and what is made of them besides."""

    content_type: ContentType
    color_content_type: ContentType | None  # None: as content_type
    recompress: tuple[SourceCoding, ...]
    recompress_color: tuple[SourceCoding, ...]
    by_name: bool  # somebody asked for these content types, they aren't the default
    alternate: Alternate | None
    alternate_name: str
    alternate_thumbnail: bool
    thumb: bool
    rendered: bool


@dataclass(frozen=True, slots=True)
class Storage:
    """Where and how instances are stored."""

    root: Path
    state_dir: Path
    images: Images
    group: str | None
    maximum_inline_public_length: int  # bytes
    maximum_inline_private_length: int  # bytes
    workers: int
    minimum_free_bytes: int
    minimum_free_inodes: int


@dataclass(frozen=True, slots=True)
class InboundFolder:
    """One watched folder."""

    dir: Path
    after_ingest: AfterIngest


@dataclass(frozen=True, slots=True)
class Server:
    """The embedded web server."""

    root: Path
    host: str
    port: int
    ohif: Path | None
    allow_origin: str | None


@dataclass(frozen=True, slots=True)
class Daemon:
    """Everything `staticwado run` does."""

    storage: Storage
    inbound: tuple[InboundFolder, ...]
    drop_dir: Path
    drop_expected: bool  # it was named, or there is a DICOM node that receives into it
    settle_seconds: float
    reconcile_seconds: float
    incomplete_seconds: float
    keep_deleted_days: int
    server: Server | None
    metrics_port: int | None


@dataclass(frozen=True, slots=True)
class Tls:
    """Our certificate, and whose certificates are believed."""

    certificate: Path
    key: Path
    authorities: Path | None  # None: those that this machine trusts
    require_client_certificate: bool


@dataclass(frozen=True, slots=True)
class Pull:
    """Studies to be fetched from another node, again and again."""

    ae: str
    every: float  # seconds
    filter: Mapping[str, str]  # by keyword


@dataclass(frozen=True, slots=True)
class Node:
    """Another DICOM node."""

    description: str | None
    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Scp:
    """Everything `staticwado scp` does."""

    root: Path
    state_dir: Path
    drop_dir: Path
    host: str
    port: int
    ae_title: str
    called_ae_titles: tuple[str, ...]
    calling_ae_titles: tuple[str, ...]
    peers: tuple[str, ...]  # addresses and networks
    tls: Tls | None
    max_associations: int
    max_associations_per_peer: int
    max_pdu_length: int  # bytes
    max_object_bytes: int
    idle_seconds: float
    artim_seconds: float
    pull: tuple[Pull, ...]
