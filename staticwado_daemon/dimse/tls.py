"""TLS for associations, both ways: the profile of BCP 195 (PS3.15 B.12; RFC 8996, RFC 9325).

TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only; no compression, no renegotiation. DICOM's older
profiles, which allow CBC or no encryption at all, are retired.
"""

import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

from staticwado_daemon.errors import ConfigError

_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
)
"""For TLS 1.2, RFC 9325 4.2; those of TLS 1.3 are all of this kind."""


_NO_CHECK_TIME: Final = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which Python has no name."""


def server_context(
    certificate: Path, key: Path, authorities: Path | None = None, *, require_client_certificate: bool = False
) -> ssl.SSLContext:
    """How we speak TLS with who calls us.

    Args:
        certificate: ours, PEM, with intermediate ones after it.
        key: its private key, PEM, without a password.
        authorities: PEM; who must have signed a client's certificate.
        require_client_certificate: without one there is no association. Needs `authorities`.

    Raises:
        ConfigError: if a file can't be read or used, or they don't belong together.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    _load(context, certificate, key)
    if require_client_certificate:
        if authorities is None:
            raise ConfigError("tls.requireClientCertificate needs tls.authorities: who signs the clients' certificates")
        _trust(context, authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    certificate: Path | None = None, key: Path | None = None, authorities: Path | None = None
) -> ssl.SSLContext:
    """How we speak TLS with whom we call: its certificate must be good, and its name or address the one we call.

    Args:
        certificate: ours, PEM, for peers that ask for one; with its key.
        key: of that certificate, PEM, without a password.
        authorities: PEM; who must have signed the peer's certificate. None: whom this machine trusts.

    Raises:
        ConfigError: if a file can't be read or used, or they don't belong together.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if certificate and key:
        _load(context, certificate, key)
    if authorities:
        _trust(context, authorities)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def expiry(certificate: Path, key: Path) -> float:
    """When our certificate ends, in seconds since the epoch.

    Raises:
        ConfigError: if a file can't be read or used, they don't belong together, or it isn't one for servers.
    """
    ours, reader = _context(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load(ours, certificate, key)
    # Python takes certificates apart only for who is shown one: here that is we, and trust exactly this one.
    reader.check_hostname = False
    reader.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    _trust(reader, certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    showing, shown = ours.wrap_bio(there, back, server_side=True), reader.wrap_bio(back, there)
    try:
        for side in (shown, showing, shown):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        ends = (shown.getpeercert() or {})["notAfter"]
    except (ssl.SSLError, ValueError, KeyError) as error:
        raise ConfigError(
            f"tls.certificate: {certificate} can't be shown as a server's certificate ({error})"
        ) from None
    return float(ssl.cert_time_to_seconds(str(ends)))


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for name, path in (("certificate", certificate), ("key", key)):
        _require_readable(name, path)
    try:
        # Without this OpenSSL would ask whoever sits at the terminal for the password.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"tls.key: {key} isn't the key of the certificate in {certificate}") from None
        raise ConfigError(
            f"tls.certificate or tls.key: {certificate} and {key} must hold a certificate and its key in PEM, "
            f"the key without a password ({_words(error)})"
        ) from None


def _trust(context: ssl.SSLContext, authorities: Path) -> None:
    _require_readable("authorities", authorities)
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise ConfigError(f"tls.authorities: {authorities} holds no certificate in PEM ({_words(error)})") from None


def _require_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise ConfigError(f"tls.{name}: {path} can't be read: {error.strerror}") from None


def _words(error: ssl.SSLError) -> str:
    return (error.reason or "unknown").lower().replace("_", " ")
