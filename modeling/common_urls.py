"""Fetching images from URLs of strangers: only https and public addresses, with limits on size and time."""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from concurrent.futures import Future
from http.client import HTTPException, HTTPSConnection
from urllib.parse import quote, urljoin, urlsplit

MAX_BYTES = 10_000_000
MAX_SECONDS = 5.0  # for everything: name look-up, all redirects, and the whole body
MAX_REDIRECTS = 5
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class UrlError(OSError):
    """Raised for a URL that is refused or cannot be fetched. The message names the URL and the reason."""


def fetch(url: str) -> bytes:
    """Fetch the body behind an https URL.

    Every host, including those of redirects, is resolved once. All its addresses must be public, and the connection
    goes to the address that was checked. Proxies of the environment are not used.

    Raises:
        UrlError: If the URL is not https, an address is not public, the status is not 200, or the download exceeds
            `MAX_BYTES` or `MAX_SECONDS`.
    """
    deadline = time.monotonic() + MAX_SECONDS
    connections: list[_Connection] = []
    future: Future[bytes] = Future()

    def work() -> None:
        try:
            future.set_result(_follow(url, deadline, connections))
        except Exception as error:
            future.set_exception(error)

    # A name look-up, and headers that arrive one byte at a time, ignore a deadline. A thread can be abandoned.
    threading.Thread(target=work, daemon=True).start()
    try:
        return future.result(timeout=MAX_SECONDS)
    except TimeoutError as error:
        raise UrlError(f"{url}: not fetched within {MAX_SECONDS:g} seconds") from error
    except (OSError, ValueError, HTTPException) as error:
        raise UrlError(f"{url}: {error}") from error
    finally:
        for connection in connections:
            connection.abort()


def _follow(url: str, deadline: float, connections: list["_Connection"]) -> bytes:
    """Fetch a URL and follow its redirects. Every connection is added to `connections`."""
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise UrlError(f"{url} is not an https URL")
        connection = _Connection(parts.hostname, parts.port or 443, deadline)
        connections.append(connection)
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + ("?" if parts.query else "")
        target += quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "mmsent"})
        response = connection.getresponse()
        if response.status in (301, 302, 303, 307, 308):
            url = urljoin(url, response.getheader("Location", ""))
            continue
        if response.status != 200:
            raise UrlError(f"status {response.status} {response.reason}")
        return _read(response, deadline)
    raise UrlError(f"more than {MAX_REDIRECTS} redirects")


def _read(response, deadline: float) -> bytes:
    body = bytearray()
    if int(response.getheader("Content-Length", 0)) > MAX_BYTES:
        raise UrlError(f"over {MAX_BYTES:,} bytes")
    while chunk := response.read1(65536):
        body += chunk
        if len(body) > MAX_BYTES:
            raise UrlError(f"over {MAX_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body)


class _Connection(HTTPSConnection):
    """A connection to the address that was checked, with a certificate for the name of the host."""

    def __init__(self, host: str, port: int, deadline: float):
        self.tls = ssl.create_default_context()
        super().__init__(host, port, context=self.tls)
        self.deadline = deadline

    def connect(self) -> None:
        address = public_address(self.host, self.port)
        self.timeout = max(0.01, self.deadline - time.monotonic())
        plain = socket.create_connection((address, self.port), self.timeout)
        self.sock = self.tls.wrap_socket(plain, server_hostname=self.host)

    def abort(self) -> None:
        """Close the connection, and wake up a thread that still waits for it."""
        if self.sock is not None:
            with contextlib.suppress(OSError):  # the other side may have closed it
                self.sock.shutdown(socket.SHUT_RDWR)
            self.close()


def public_address(host: str, port: int) -> str:
    """Return the first address of a host whose addresses are all public.

    Raises:
        UrlError: If an address is private, loopback, link-local, reserved or multicast, or is an IPv6 address that
            stands for an IPv4 address.
        OSError: If the host does not exist.
    """
    addresses = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in addresses:
        address = ipaddress.ip_address(text)
        public = address.is_global and not (address.is_multicast or address.is_reserved)
        if address.version == 6:
            embedded = address.ipv4_mapped or address.sixtofour or address.teredo or address in _NAT64
            public = public and not embedded and not address.is_site_local
        if not public:
            raise UrlError(f"{host} has the address {text}, which is not public")
    return addresses[0]
