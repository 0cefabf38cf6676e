"""Certificates: read, checked as far as this host can, and given to gRPC."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

import attrs

from penstock.errors import UsageError

if TYPE_CHECKING:
    import grpc

__all__ = ["EXPIRED", "Tls", "read_tls"]

#: OpenSSL's number for a certificate whose time is over.
EXPIRED = 10


@attrs.frozen(slots=True, kw_only=True)
class Tls:
    """The files of one end. ``ca`` is who may have signed the other end's certificate, None: the other end shows none.

    ``cert`` and ``key`` are its own, both or neither.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def for_agent(self) -> grpc.ServerCredentials:
        """What an agent listens with; with ``ca`` it takes only controllers that have a certificate."""
        import grpc

        assert self.cert is not None
        assert self.key is not None
        pair = (_read(self.key), _read(self.cert))
        ca = None if self.ca is None else _read(self.ca)
        return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)

    def for_controller(self) -> grpc.ChannelCredentials:
        """What a controller connects with."""
        import grpc

        assert self.ca is not None
        key, cert = (None if path is None else _read(path) for path in (self.key, self.cert))
        return grpc.ssl_channel_credentials(_read(self.ca), key, cert)

    def context(self) -> ssl.SSLContext:
        """A controller's settings for Python's own TLS, which says in detail what it does not like."""
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(["h2"])
        if self.cert is not None:
            context.load_cert_chain(self.cert, self.key, password="")
        return context

    def has_expired(self) -> bool:
        """Whether its own certificate has: asked of OpenSSL, by a handshake within this process."""
        assert self.cert is not None
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(self.cert, self.key, password="")
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        # Trusted as it is, so that nothing but its dates is judged.
        client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        client.load_verify_locations(self.cert)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True))
        try:
            for end in (*ends, ends[0]):
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        except ssl.SSLCertVerificationError as error:
            return error.verify_code == EXPIRED
        return False


def read_tls(*, ca: str | None, cert: str | None, key: str | None, ca_option: str = "tls_ca") -> Tls:
    """Check that the files are there and fit each other. Raises UsageError, naming the option."""
    if (cert is None) != (key is None):
        raise UsageError(
            f"{'tls_key' if key is None else 'tls_cert'} is missing: a certificate and its key go together"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None:
        _readable(ca_option, ca)
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError:
            raise UsageError(f"{ca_option} {ca}: no certificate in PEM form is in it") from None
    if cert is not None and key is not None:
        _readable("tls_cert", cert)
        _readable("tls_key", key)
        try:
            # The empty password keeps OpenSSL from asking for one.
            context.load_cert_chain(cert, key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise UsageError(_mismatch(cert, key, error)) from None
    return Tls(ca=ca, cert=cert, key=key)


def _readable(option: str, path: str) -> None:
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from None


def _mismatch(cert: str, key: str, error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return f"tls_key {key} is not the key of tls_cert {cert}; give the pair that was made together"
    return (
        f"tls_cert {cert} and tls_key {key} can't be used ({reason or error}): they are PEM files, the first with the "
        "certificate and those of its signers, the second with its key, without a password"
    )


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
