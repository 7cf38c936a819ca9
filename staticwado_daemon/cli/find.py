"""`staticwado find`: what another node has."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import click

from staticwado_daemon.cli.asking import local_of, network_options, peer_of, quieten
from staticwado_daemon.cli.options import AnyCommand, Common, json_option, shared
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.archive.search import Level
    from staticwado_daemon.dimse.query.question import Answer

_EXAMPLES = """\b
Examples:
  staticwado find PACS --patient-name 'Doe^J*' --study-date 20260101-20260131
  staticwado find PACS --modality CT --study-date today-7-
  staticwado find PACS --level series --study 1.2.840.99.1
  staticwado find PACS --key InstitutionName='General*' --key StudyID
"""

_OPTIONS = {  # names, keyword, what is given, meaning
    "--study": ("StudyInstanceUID", "UID", "Of this study."),
    "--series": ("SeriesInstanceUID", "UID", "Of this series."),
    "--patient-id --patient": ("PatientID", "ID", "Of this patient."),
    "--patient-name": ("PatientName", "NAME", "Of patients of this name: Doe^John, Doe*."),
    "--study-date --date": ("StudyDate", "RANGE", "Of this day, or range: 20260131, 20260101-20260131, today-7-."),
    "--accession": ("AccessionNumber", "NUMBER", "Of this accession number."),
    "--modality": ("Modality", "CS", "Of this modality; of studies, those with a series of it."),
}

_ABOVE = {"series": ("--study",), "image": ("--study", "--series")}
"""What has to be said at a level, since queries are hierarchical."""

_COLUMNS: "Mapping[Level, Mapping[str, str]]" = {
    "PATIENT": {
        "PatientID": "patient id",
        "PatientName": "name",
        "PatientBirthDate": "born",
        "PatientSex": "sex",
        "NumberOfPatientRelatedStudies": "studies",
    },
    "STUDY": {
        "StudyDate": "date",
        "ModalitiesInStudy": "modalities",
        "PatientID": "patient id",
        "PatientName": "name",
        "StudyDescription": "description",
        "NumberOfStudyRelatedInstances": "instances",
        "StudyInstanceUID": "study",
    },
    "SERIES": {
        "SeriesNumber": "number",
        "Modality": "modality",
        "SeriesDescription": "description",
        "NumberOfSeriesRelatedInstances": "instances",
        "SeriesInstanceUID": "series",
    },
    "IMAGE": {"InstanceNumber": "number", "SOPClassUID": "SOP class", "SOPInstanceUID": "instance"},
}


def query_options(command: AnyCommand) -> AnyCommand:
    """Give a command the options by which studies are chosen; they are kept as keys of the query."""
    command = click.option(
        "--key",
        metavar="KEYWORD[=VALUE]",
        multiple=True,
        expose_value=False,
        callback=_keep_keys,
        help="By any other attribute; without a value it is only asked for. May be given several times.",
    )(command)
    for names, (keyword, metavar, meaning) in reversed(_OPTIONS.items()):
        option = click.option(
            *names.split(), keyword, metavar=metavar, expose_value=False, callback=_keep_key, help=meaning
        )
        command = option(command)
    return command


def _keep_key(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and parameter.name:
        _keys(context)[parameter.name] = value


def _keep_keys(context: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> None:
    for each in values:
        keyword, _, value = each.partition("=")
        _keys(context)[keyword] = value


def _keys(context: click.Context) -> dict[str, str]:
    keys: dict[str, str] = context.meta.setdefault(__name__, {})
    return keys


def chosen_keys(level: "Level") -> dict[str, str]:
    """What the options of this command line choose by: values by keyword.

    Raises:
        ConfigError: if nothing at this level can be chosen so.
    """
    from staticwado_daemon.dimse.query.question import fitted

    return fitted(level, _keys(click.get_current_context()))


@click.command(short_help="Ask a node what it has.", epilog=_EXAMPLES)
@click.argument("ae", metavar="AE")
@click.option(
    "--level",
    type=click.Choice(["patient", "study", "series", "image"], case_sensitive=False),
    default="study",
    show_default=True,
    help="What is listed.",
)
@query_options
@click.option("--limit", metavar="NUMBER", type=click.IntRange(1), help="Ask for no more than so many.")
@network_options
@json_option
@shared()
@click.pass_obj
def find(common: Common, ae: str, *, level: str, limit: int | None, tls: bool) -> None:
    """List what another node has (C-FIND).

    AE is the AE title of a node of aeConfig, or TITLE@HOST:PORT. `*` and `?` stand for any letters and for one.
    Only --json has every attribute that comes back.
    """
    from staticwado_daemon.dimse.association.requestor import associated
    from staticwado_daemon.dimse.contexts import messages
    from staticwado_daemon.dimse.query.question import LEVELS, ask, identifier, model

    quieten(common)
    wanted = next(each for each in LEVELS if each == level.upper())
    keys = chosen_keys(wanted)
    if lacking := [option for option in _ABOVE.get(level, ()) if not keys.get(_OPTIONS[option][0])]:
        raise ConfigError(f"to list {level if level == 'series' else 'images'}, say of which: {' and '.join(lacking)}")
    asked = identifier(wanted, keys, date.today())  # noqa: DTZ011 - a day as people here count them
    configuration = common.configuration()
    peer = peer_of(configuration, ae, tls=tls)
    local = local_of(configuration.scp(), tls=peer.tls)
    with associated(local, peer, messages([model(wanted)])) as association:
        found = list(ask(association, peer, asked, limit))
    if common.as_json:
        _print_object(peer.title, wanted, found)
    else:
        _print_table(wanted, found)


def _print_object(title: str, level: str, found: "Iterable[Answer]") -> None:
    """DICOM JSON, as C-FIND's counterpart QIDO-RS has it."""
    import json

    from staticwado_daemon.cli.outcomes import print_object

    print_object(json.dumps({"title": title, "level": level, "answers": [*found]}, ensure_ascii=False))


def _print_table(level: "Level", found: "Sequence[Answer]") -> None:
    from rich.cells import cell_len

    from staticwado_daemon.cli.outcomes import counted, printable
    from staticwado_daemon.dimse.query.question import value

    noun = "instance" if level == "IMAGE" else level.lower()
    columns = {
        heading: [printable(value(answer, keyword)) for answer in found] for keyword, heading in _COLUMNS[level].items()
    }
    shown = {heading: cells for heading, cells in columns.items() if any(cells)}
    rows = [[*shown], *map(list, zip(*shown.values(), strict=True))] if found else []
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        line = "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        click.echo(click.style(line.rstrip(), bold=True) if number == 0 else line.rstrip())
    click.echo(f"{counted(len(found), noun) if noun != 'series' else f'{len(found):,} series'}")
