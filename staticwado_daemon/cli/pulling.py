"""From the `pull` settings to the rules by which studies are fetched."""

from datetime import date
from typing import TYPE_CHECKING

from staticwado_daemon.cli.asking import peer_of
from staticwado_daemon.errors import ConfigError

if TYPE_CHECKING:
    from staticwado_daemon.config import Configuration
    from staticwado_daemon.dimse.pulling.rules import Rule


def rules_of(configuration: "Configuration") -> "list[Rule]":
    """The rules by which studies are fetched.

    Raises:
        ConfigError: if one of them can't be asked for.
    """
    from staticwado_daemon.dimse.pulling.rules import Rule
    from staticwado_daemon.dimse.query.question import fitted, identifier

    rules = []
    for number, each in enumerate(configuration.scp().pull):
        try:
            keys = fitted("STUDY", each.filter)
            identifier("STUDY", keys, date(2000, 1, 1))
        except ConfigError as error:
            raise ConfigError(f"dicomWebScpConfig.pull[{number}].filter: {error}") from None
        if not any(keys.values()):
            raise ConfigError(f"dicomWebScpConfig.pull[{number}].filter: say which studies: {{StudyDate: 'today-7-'}}")
        try:
            peer = peer_of(configuration, each.ae)
        except ConfigError as error:
            raise ConfigError(f"dicomWebScpConfig.pull[{number}].ae: {error}") from None
        rules.append(Rule(peer, each.every, keys))
    return rules
