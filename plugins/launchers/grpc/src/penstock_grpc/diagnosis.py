"""Why an agent can't be reached: asked of the sockets and of Python's TLS, which know more than gRPC tells."""

from __future__ import annotations

import contextlib
import socket
import ssl

from penstock_grpc.addresses import Address
from penstock_grpc.tls import EXPIRED, Tls

__all__ = ["diagnose"]

_VERIFY_NOT_YET = 9
_VERIFY_NAME = (62, 64)

#: An HTTP/2 client's first words: the preface, and settings that change nothing.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_FRAME = 4
#: What OpenSSL says of an answer that is none in TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF_WHILE_READING", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


def diagnose(address: Address, tls: Tls | None, server_name: str | None, seconds: float) -> str | None:
    """What is wrong between here and an agent, and the remedy; None when nothing is found. Takes some ``seconds``."""
    try:
        address.resolve()
    except OSError:
        return f"there is no host named {address.host}; correct the name, or ask the DNS that this host uses"
    try:
        connection = socket.create_connection((address.host, address.port), timeout=seconds)
    except ConnectionRefusedError:
        return f"nobody listens there; start it: penstock agent --listen {address}"
    except TimeoutError:
        return f"no answer within {seconds:g} s; it is off, or a firewall drops what is sent to port {address.port}"
    except OSError as error:
        return f"it can't be reached: {error.strerror or error}; look at the route to it"
    with connection:
        if tls is None:
            return _diagnose_plain(connection, address, seconds)
        return _diagnose_tls(connection, address, tls, server_name)


def _diagnose_plain(connection: socket.socket, address: Address, seconds: float) -> str | None:
    answer = _converse(connection)
    if answer[3:4] == bytes([_SETTINGS_FRAME]):
        return None
    if _speaks_tls(address, seconds):
        return "it speaks TLS, and you don't; give the certificate of who signed its own by tls_ca"
    return _no_agent(address)


def _speaks_tls(address: Address, seconds: float) -> bool:
    """Whether a handshake gets as far as a certificate, whoever's it is; nothing is sent over it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((address.host, address.port), timeout=seconds) as connection,
            context.wrap_socket(connection) as secure,
        ):
            return secure.version() is not None
    except OSError:
        return False


def _diagnose_tls(connection: socket.socket, address: Address, tls: Tls, server_name: str | None) -> str | None:
    name = server_name or address.host
    try:
        with tls.context().wrap_socket(connection, server_hostname=name) as secure:
            if _converse(secure)[3:4] == bytes([_SETTINGS_FRAME]):
                return None
            # With TLS 1.3 a certificate that is refused, or missing, shows only after the handshake.
            return _of_own_certificate(tls) if secure.selected_alpn_protocol() == "h2" else _no_agent(address)
    except ssl.SSLCertVerificationError as error:
        return _of_certificate(error, name, tls)
    except OSError as error:
        return _if_plain(address, connection.gettimeout() or 1.0, error)


def _of_own_certificate(tls: Tls) -> str:
    if tls.cert is None:
        return "it takes only controllers with a certificate; give yours by tls_cert and tls_key"
    if tls.has_expired():
        return f"your certificate (tls_cert {tls.cert}) has expired; renew it"
    return (
        f"it does not take your certificate (tls_cert {tls.cert}); have one signed by its --tls-client-ca, for clients"
    )


def _of_certificate(error: ssl.SSLCertVerificationError, name: str, tls: Tls) -> str:
    if error.verify_code == EXPIRED:
        return "its certificate has expired; renew it there, start the agent again, and compare the two hosts' clocks"
    if error.verify_code == _VERIFY_NOT_YET:
        return "its certificate is not valid yet; compare the two hosts' clocks"
    if error.verify_code in _VERIFY_NAME:
        return (
            f"its certificate is not for {name}; have one made with that name (subjectAltName), or say which name it "
            "has by server_name"
        )
    return (
        f"its certificate is not signed by tls_ca {tls.ca} ({error.verify_message}); give the certificate of its signer"
    )


def _if_plain(address: Address, seconds: float, error: OSError) -> str:
    with (
        contextlib.suppress(OSError),
        socket.create_connection((address.host, address.port), timeout=seconds) as connection,
    ):
        if _converse(connection)[3:4] == bytes([_SETTINGS_FRAME]):
            return (
                "it speaks without TLS, and you with it; start it with --tls-cert and --tls-key, or, on this host's "
                "loopback, take tls_ca away"
            )
    if isinstance(error, ssl.SSLError) and error.reason not in _NO_TLS:
        return f"no TLS with it ({error.reason or error}); compare the certificates of both ends"
    return _no_agent(address)


def _converse(connection: socket.socket) -> bytes:
    """Say hello in HTTP/2; what came back, at most one frame's header."""
    answer = b""
    try:
        connection.sendall(_PREFACE)
        while len(answer) < 9 and (part := connection.recv(9 - len(answer))):
            answer += part
    except OSError:
        pass
    return answer


def _no_agent(address: Address) -> str:
    return f"something listens on port {address.port}, but it is no agent; correct the port"
