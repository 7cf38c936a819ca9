"""Certificates for the tests: an authority, and what it signs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Authority:
    """Somebody who signs, in a directory of their own."""

    directory: Path

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.crt"

    def sign(self, name: str, kind: str = "ec") -> tuple[Path, Path]:
        """A new certificate for this machine, and its key; `kind` is "ec" or "rsa"."""
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        _request(
            certificate,
            key,
            kind,
            f"/CN={name}",
            "subjectAltName=IP:127.0.0.1,DNS:localhost",
            ["-CA", str(self.certificate), "-CAkey", str(self.directory / "ca.key")],
        )
        return certificate, key


def authority(directory: Path) -> Authority:
    """A new authority in a new directory."""
    directory.mkdir()
    new = Authority(directory)
    _request(new.certificate, directory / "ca.key", "ec", f"/CN={directory.name}", "basicConstraints=critical,CA:TRUE")
    return new


def _request(
    certificate: Path, key: Path, kind: str, subject: str, extension: str, signed: list[str] | None = None
) -> None:
    new = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words = ["openssl", "req", "-x509", "-newkey", *new, "-nodes", "-days", "2", "-subj", subject]
    words += ["-addext", extension, "-keyout", str(key), "-out", str(certificate), *(signed or [])]
    subprocess.run(words, check=True, capture_output=True)
