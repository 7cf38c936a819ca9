"""Where the commands that look things up have to look."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from staticwado_daemon.config import Configuration
    from staticwado_daemon.operate.explain.places import SearchPlaces


def places_of(configuration: "Configuration") -> "SearchPlaces":
    """The places that the settings name.

    Raises:
        ConfigError: if the settings can't be obeyed.
    """
    from staticwado_daemon.cli.assembly import JOURNAL
    from staticwado_daemon.operate.explain.places import SearchPlaces

    settings = configuration.daemon()
    storage = settings.storage
    return SearchPlaces(
        root=storage.root,
        state_dir=storage.state_dir,
        journal=storage.state_dir / JOURNAL,
        inbound=tuple(each.dir for each in settings.inbound),
        drop_dir=settings.drop_dir,
    )
