"""The DICOM node."""

from collections.abc import Sequence
from pathlib import Path

from staticwado_daemon.operate import network
from staticwado_daemon.operate.doctor.finding import Finding, attention, fine


def works(state_dir: Path, address: str, concerns: Sequence[str]) -> Finding:
    """Whether the node runs, as the settings have it, and nothing about these is of concern.

    Args:
        state_dir: where its report stands.
        address: by the settings, `TITLE@host:port`.
        concerns: sentences on what the settings lead to, such as that whoever reaches it may associate.
    """
    node = network.read(state_dir)
    if node is None:
        return attention(
            f"{address} isn't running: systemctl start staticwado-scp (or `staticwado scp`); its log says why it ended"
        )
    if node.address != address:
        return attention(f"it runs as {node.address}, and the settings say {address}: systemctl restart staticwado-scp")
    if concerns:
        return attention("; ".join(concerns))
    lost = sum(node.associations.get(each, 0) for each in ("aborted", "timeout"))
    return fine(
        f"{address} runs, {node.open:,} open, {node.associations.get('released', 0):,} released, {lost:,} lost, "
        f"{node.associations.get('rejected', 0):,} rejected"
    )
