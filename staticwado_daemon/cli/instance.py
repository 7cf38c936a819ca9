"""`staticwado instance`: static-wado's name for `create`."""

import click

from staticwado_daemon.cli.create import create

instance = click.Command(
    "instance",
    callback=create.callback,
    params=create.params,
    epilog=create.epilog,
    short_help="static-wado's name for `create`.",
    help="Put DICOM files, and folders of them, into the tree: static-wado's name for `create`, which does the same.",
)
