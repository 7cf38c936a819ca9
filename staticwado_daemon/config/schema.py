"""What may stand in a configuration file: sections, keys, types, defaults and meanings.

Everything that talks about settings is derived from these structs: the checks, `config show`, the file that
`config init` writes, and (through a test) docs/configuration.md. Section and key names are static-wado's wherever it
has the setting, so that one file can serve both.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from staticwado_daemon.archive import layout
from staticwado_daemon.dicom.content_types import Alternate, ContentType, SourceCoding

AfterIngest = Literal["keep", "delete"]

_WEEK = 7 * 24 * 3600

Text = Annotated[str, Meta(min_length=1)]
FilePath = Annotated[str, Meta(min_length=1, extra={"path": True})]
Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Workers = Annotated[int, Meta(ge=1, le=1024)]
AlternateName = Annotated[
    str,
    Meta(
        pattern=rf"\A{layout.ALTERNATE_NAME}\Z",
        extra={"words": "letters, digits, - and _ in quotes, and no name of the tree's own"},
    ),
]
AE_TITLE = r"\A(?! )[ -\[\]-~]{1,16}(?<! )\Z"
"""PS3.5 6.2, AE: at most 16 characters of ASCII, no backslash; blanks at either end mean nothing."""
AeTitle = Annotated[str, Meta(pattern=AE_TITLE, extra={"words": "an AE title (1 to 16 characters of ASCII) in quotes"})]
PduLength = Annotated[int, Meta(ge=4096, le=16_777_216)]
Positive = Annotated[int, Meta(ge=1)]
Associations = Annotated[int, Meta(ge=1, le=1000)]
Patience = Annotated[float, Meta(ge=1, le=3600)]
Days = Annotated[int, Meta(ge=0, le=36_500)]
Seconds = Annotated[float, Meta(ge=0, le=_WEEK)]
Interval = Annotated[float, Meta(ge=1, le=_WEEK)]


def _says(meaning: str, example: object = None) -> Meta:
    return Meta(description=meaning, examples=None if example is None else [example])


class Group(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, rename="camel"):
    """Keys that stand together: camelCase in the file, snake_case in Python."""


class StaticWadoConfig(Group, frozen=True):
    """The base: the other sections inherit what they know of it."""

    root_dir: Annotated[FilePath, _says("Where the DICOMweb tree stands: one local filesystem.")] = "~/dicomweb"
    content_type: Annotated[
        ContentType,
        _says(
            "What frames are stored as: `htj2k` (lossless HTJ2K; `jhc` is the same), `jls` (lossless JPEG-LS), `jp2` "
            "(lossless JPEG 2000), `none` or `lei` (uncompressed, gzipped), or with loss `jhc-lossy`, `jls-lossy`, "
            "`jp2-lossy`, `jpeg`; or one of their Transfer Syntax UIDs. Which frames: see recompress."
        ),
    ] = "htj2k"
    color_content_type: Annotated[
        ContentType | None, _says("The same for frames with three samples per pixel. Absent: as contentType.")
    ] = None
    recompress: Annotated[
        tuple[SourceCoding, ...],
        _says(
            "Which frames are stored as contentType says, by how they arrive; all others as they came. `true` stands "
            "for all, `none` for none. What arrives compressed is then kept twice (docs/configuration.md)."
        ),
    ] = ("uncompressed",)
    recompress_color: Annotated[
        tuple[SourceCoding, ...], _says("The same for frames with three samples per pixel.")
    ] = ("uncompressed",)
    alternate: Annotated[
        Alternate | None,
        _says(
            "Store each frame once more, for clients that ask for it by name: `jhcLossless`, `jlsLossless`, or with "
            "loss `jhc`, `jls`. Absent: no."
        ),
    ] = None
    alternate_name: Annotated[
        AlternateName, _says("The name: `…/instances/I/NAME/1` instead of `…/instances/I/frames/1`.")
    ] = "lossy"
    alternate_thumbnail: Annotated[
        bool, _says("Make alternates of frames with 512 rows or more smaller: a quarter of the rows and columns.")
    ] = False
    thumb: Annotated[bool, _says("Make thumbnails.")] = True
    rendered: Annotated[bool, _says("Make pictures of all frames, as `…/rendered` asks for them.")] = False
    group: Annotated[
        Text | None,
        _says("Group that may read the tree: the web server's, by name. Absent: the daemon's own group."),
    ] = None
    maximum_inline_public_length: Annotated[
        Count, _says("Values of standard elements longer than this many bytes become bulk data files.")
    ] = 131074
    maximum_inline_private_length: Annotated[
        Count, _says("Values of private elements longer than this many bytes become bulk data files.")
    ] = 64
    min_free_bytes: Annotated[
        Count, _says("Nothing is taken in while rootDir's disk has less than this many bytes free. 0: no minimum.")
    ] = 1_000_000_000
    min_free_inodes: Annotated[
        Count, _says("Nothing is taken in while rootDir's disk has fewer than this many inodes free. 0: no minimum.")
    ] = 10_000


class MkdicomwebConfig(StaticWadoConfig, frozen=True):
    """For `staticwado create` (and `mkdicomweb`) alone; what is absent comes from staticWadoConfig."""


_ALLOW_ORIGIN = _says(
    "Whose web pages may read the tree besides the server's own: `*` for everybody's, or those of one origin such as "
    "`https://viewer.example`. Absent: nobody's."
)


class DicomWebServerConfig(Group, frozen=True):
    """For `dicomwebserver`, the embedded server on its own; rootDir is inherited from staticWadoConfig."""

    root_dir: Annotated[FilePath, _says("The tree to serve.")] = "~/dicomweb"
    host: Annotated[Text, _says("Address to listen on; the default is reached from this machine alone.")] = "127.0.0.1"
    port: Annotated[Port, _says("TCP port.")] = 5000
    client_dir: Annotated[
        FilePath | None, _says("An unpacked OHIF `dist` folder to serve on `/`. Absent: the DICOMweb tree alone.")
    ] = None
    allow_origin: Annotated[Text | None, _ALLOW_ORIGIN] = None


class InboundConfig(Group, frozen=True):
    """One folder that is watched."""

    dir: Annotated[FilePath, _says("The folder; everything below it is watched as well.", "/dicom")]
    after_ingest: Annotated[
        AfterIngest,
        _says("What becomes of a file that is durably in the tree: `keep` leaves it alone, `delete` removes it."),
    ] = "keep"


class ServeConfig(Group, frozen=True):
    """The embedded server beside the daemon."""

    host: Annotated[Text, _says("Address to listen on; the default is reached from this machine alone.")] = "127.0.0.1"
    port: Annotated[Port, _says("TCP port.")] = 8080
    ohif: Annotated[
        FilePath | None, _says("An unpacked OHIF `dist` folder to serve on `/`. Absent: the DICOMweb tree alone.")
    ] = None
    allow_origin: Annotated[Text | None, _ALLOW_ORIGIN] = None


class DaemonConfig(Group, frozen=True):
    """For `staticwado run`."""

    inbound: Annotated[tuple[InboundConfig, ...], _says("The folders to watch.")] = ()
    drop_dir: Annotated[
        FilePath | None,
        _says(
            "Our own folder, for what `staticwado scp` receives and for complete files of other programs, removed once "
            "durably ingested. Absent: `.staticwado/drop` below rootDir."
        ),
    ] = None
    state_dir: Annotated[FilePath | None, _says("The journal's place. Absent: `.staticwado` below rootDir.")] = None
    settle_seconds: Annotated[
        Seconds, _says("How long a file nobody was seen to close must be left alone to count as complete.")
    ] = 2.0
    reconcile_seconds: Annotated[
        Interval, _says("How often the folders are compared with the journal, in case an event was lost.")
    ] = 60.0
    incomplete_seconds: Annotated[
        Seconds, _says("How long a file that ends too early may rest before it is rejected as incomplete.")
    ] = 600.0
    keep_deleted_days: Annotated[
        Days, _says("For how many days `staticwado undo` can bring back what was deleted; then it is gone for good.")
    ] = 30
    workers: Annotated[Workers | None, _says("Worker processes. Absent: one for each processor.")] = None
    serve: Annotated[
        ServeConfig | None, _says("The embedded server; `{}` is enough. Absent: none, a web server reads the tree.")
    ] = None
    metrics_port: Annotated[
        Port | None,
        _says(
            "Port on 127.0.0.1 where `/healthz` and `/metrics` are answered. Absent: only by the embedded server, "
            "if there is one."
        ),
    ] = None


class TlsConfig(Group, frozen=True):
    """Encryption of DICOM, PS3.15 B.9 and later: TLS 1.2 or newer, for what comes in and for peers with `tls: true`."""

    certificate: Annotated[
        FilePath, _says("Our certificate, PEM, with the intermediate ones after it.", "/etc/staticwado/tls.crt")
    ]
    key: Annotated[FilePath, _says("Its private key, PEM, without a password.", "/etc/staticwado/tls.key")]
    authorities: Annotated[
        FilePath | None,
        _says("Who must have signed a peer's certificate, PEM. Absent: those that this machine trusts."),
    ] = None
    require_client_certificate: Annotated[
        bool, _says("Who associates with us must show a certificate that the authorities signed.")
    ] = False


class PullConfig(Group, frozen=True):
    """Studies that are fetched from another node by themselves, as far as we lack them."""

    ae: Annotated[AeTitle, _says("From whom: a node of aeConfig.", "PACS")]
    every: Annotated[Interval, _says("How often it is asked, in seconds.")] = 300.0
    filter: Annotated[
        dict[Text, str],
        _says(
            "Which studies: values by keyword as in a query, one at least: "
            "`{StudyDate: 'today-7-', ModalitiesInStudy: 'CT'}`.",
            {"StudyDate": "today-7-"},
        ),
    ] = {}


class DicomWebScpConfig(Group, frozen=True):
    """For `staticwado scp` (and `dicomwebscp`), our DICOM node; rootDir is inherited from staticWadoConfig."""

    root_dir: Annotated[FilePath, _says("The tree that is queried and retrieved from.")] = "~/dicomweb"
    host: Annotated[Text, _says("Address to listen on; the default is reached from this machine alone.")] = "127.0.0.1"
    port: Annotated[Port, _says("TCP port; DICOM's own are 104 and 11112, with TLS 2762.")] = 11112
    ae_title: Annotated[AeTitle, _says("Our AE title, by which we call other nodes.")] = "STATICWADO"
    called_ae_titles: Annotated[
        tuple[AeTitle, ...], _says("By which titles we may be called. Empty: by any, because few nodes get it right.")
    ] = ()
    calling_ae_titles: Annotated[
        tuple[AeTitle, ...], _says("Who may associate, by the title that it gives itself. Empty: whoever reaches us.")
    ] = ()
    peers: Annotated[
        tuple[Text, ...],
        _says("Who may associate, by address or network: `10.1.2.3`, `10.1.0.0/16`. Empty: whoever reaches us."),
    ] = ()
    tls: Annotated[TlsConfig | None, _says("Encryption. Absent: none.")] = None
    max_associations: Annotated[Associations, _says("How many associations may be open at a time.")] = 100
    max_associations_per_peer: Annotated[Associations, _says("How many of these from one address.")] = 30
    max_pdu_length: Annotated[PduLength, _says("The longest PDU that we take, in bytes.")] = 131_072
    max_object_bytes: Annotated[
        Positive, _says("The longest object that we take, in bytes; what goes on beyond that is refused.")
    ] = 34_359_738_368
    idle_seconds: Annotated[
        Patience, _says("How long an association may say nothing, or a message stand still, before it is aborted.")
    ] = 60.0
    artim_seconds: Annotated[
        Patience, _says("How long a connection may take to request its association, the TLS handshake included.")
    ] = 15.0
    pull: Annotated[tuple[PullConfig, ...], _says("What is fetched from other nodes.")] = ()


class AeConfig(Group, frozen=True):
    """Other DICOM nodes by AE title: whom we send to and query, and to whom others have us move studies."""

    host: Annotated[Text, _says("Its address or name.", "10.1.2.3")]
    port: Annotated[Port, _says("Its TCP port.", 104)]
    tls: Annotated[bool, _says("It is spoken to in TLS, with the certificates of dicomWebScpConfig.tls.")] = False
    description: Annotated[Text | None, _says("What it is, for people.")] = None


BASE = "staticWadoConfig"
SECTIONS: dict[str, type[Group]] = {
    BASE: StaticWadoConfig,
    "mkdicomwebConfig": MkdicomwebConfig,
    "dicomWebServerConfig": DicomWebServerConfig,
    "daemonConfig": DaemonConfig,
    "dicomWebScpConfig": DicomWebScpConfig,
}
MAPS: dict[str, type[Group]] = {"aeConfig": AeConfig}
"""Sections whose keys are names of one's own, AE titles, with a group for each."""


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.required else field.default


@dataclass(frozen=True, slots=True)
class Key:
    """One setting as the reader of a file meets it."""

    name: str
    annotation: Any  # what msgspec converts and checks a value by
    default: Any
    required: bool
    meaning: str
    group: type[Group] | None  # of an object, or of each object in a list
    is_list: bool
    is_path: bool  # the file's folder is where a relative one starts
    example: Any = None  # a value where there is no default


def keys(group: type[Group]) -> Iterator[Key]:
    """Yield the keys of a section or nested object, in the order in which they are documented."""
    for field in msgspec.structs.fields(group):
        plain, *metas = get_args(field.type)
        members = get_args(plain) if get_origin(plain) in {Union, UnionType} else (plain,)
        core = next(member for member in members if member is not NoneType)
        is_list = get_origin(core) is tuple
        item = get_args(core)[0] if is_list else core
        constraints = [*metas, *getattr(core, "__metadata__", ())]
        yield Key(
            name=field.encode_name,
            annotation=field.type,
            default=_default(field),
            required=field.required,
            meaning=metas[-1].description,
            group=item if isinstance(item, type) and issubclass(item, Group) else None,
            is_list=is_list,
            is_path=any((meta.extra or {}).get("path", False) for meta in constraints),
            example=(metas[-1].examples or [None])[0],
        )
