"""A certificate that ends is told before it does."""

import subprocess
import time
from pathlib import Path

import pytest

from staticwado_daemon.dimse.tls import expiry
from staticwado_daemon.errors import ConfigError
from staticwado_daemon.operate.doctor import network
from staticwado_daemon.operate.network import REPORT, NetworkReport
from staticwado_daemon.pipeline.struct_file import StructFile
from tests.system.certificates import authority

DAY = 86400.0


def signed(directory: Path, days: int, extension: str = "subjectAltName=IP:127.0.0.1") -> tuple[Path, Path]:
    """A certificate that ends so many days from now, and its key."""
    certificate, key, request, extensions = (directory / f"tls.{each}" for each in ("crt", "key", "csr", "ext"))
    extensions.write_text(extension)
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=node"]
    subprocess.run([*new, "-keyout", key, "-out", request], check=True, capture_output=True)
    sign = ["openssl", "x509", "-req", "-days", str(days), "-in", request, "-signkey", key, "-extfile", extensions]
    subprocess.run([*sign, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("days", [0, 1, 400])
def test_the_end_is_read_whether_it_is_past_or_not(tmp_path: Path, days: int) -> None:
    files = signed(tmp_path, days)
    if days == 0:
        time.sleep(1.5)  # it ended in the second in which it was made
    assert expiry(*files) == pytest.approx(time.time() + days * DAY, abs=60)


def test_the_end_is_ours_and_not_that_of_who_signed(tmp_path: Path) -> None:
    signer = authority(tmp_path / "ca")
    certificate, key = signer.sign("node", "rsa")
    certificate.write_bytes(certificate.read_bytes() + signer.certificate.read_bytes())
    assert expiry(certificate, key) == pytest.approx(time.time() + 2 * DAY, abs=60)


def test_what_is_no_certificate_for_servers_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be shown as a server's certificate"):
        expiry(*signed(tmp_path, 9, "extendedKeyUsage=clientAuth"))


def test_the_doctor_tells_every_concern(tmp_path: Path) -> None:
    report = NetworkReport(running=True, pid=1, title="NODE", host="127.0.0.1", port=104, tls=True)
    StructFile[NetworkReport](tmp_path / REPORT).write(report)
    assert network.works(tmp_path, "NODE@127.0.0.1:104", []).ok
    finding = network.works(tmp_path, "NODE@127.0.0.1:104", ["it ends", "it is open"])
    assert not finding.ok
    assert finding.sentence == "it ends; it is open"
