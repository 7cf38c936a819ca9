"""Configuration: one JSON5 file, the command line above it, the defaults below it.

Nothing here is imported by a package below the command line: those take plain values.
"""

from staticwado_daemon.config.machine import daemon_errors, missing_folders, scp_errors, storage_errors
from staticwado_daemon.config.settings import FILE_NAME, Configuration, Setting, find, load
from staticwado_daemon.config.values import Daemon, Images, InboundFolder, Node, Pull, Scp, Server, Storage, Tls

__all__ = [
    "FILE_NAME",
    "Configuration",
    "Daemon",
    "Images",
    "InboundFolder",
    "Node",
    "Pull",
    "Scp",
    "Server",
    "Setting",
    "Storage",
    "Tls",
    "daemon_errors",
    "find",
    "load",
    "missing_folders",
    "scp_errors",
    "storage_errors",
]
