"""Which URLs are fetched, and how: a local server stands for the public Internet, nothing reaches the network."""

import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmsent.modeling import common_urls as urls

PUBLIC = "93.184.216.34"


class Handler(BaseHTTPRequestHandler):
    pages: dict[str, tuple[int, dict, bytes]] = {}
    seen: list[str] = []

    def do_GET(self):
        self.seen.append(self.path)
        if self.path == "/drip":  # a byte now and then, each of them in time
            for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                try:
                    self.wfile.write(bytes([letter]))
                except OSError:
                    return
                time.sleep(0.05)
            return
        status, headers, body = self.pages[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    Handler.pages, Handler.seen = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def internet(server, monkeypatch):
    """Names and their addresses; connections to PUBLIC go to the local server, without encryption. Returns the names
    and the addresses that were connected to, and the names of the certificates that were asked for."""
    names = {"pictures.example": [PUBLIC]}
    connected, certificates, connect = [], [], socket.create_connection

    def resolve(host, port, *args, **kwargs):
        addresses = names.get(host, [host])
        if callable(addresses):
            addresses = addresses()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    def create_connection(address, timeout):
        connected.append(address[0])
        assert address[0] == PUBLIC
        return connect(server.server_address, timeout)

    class Plain:
        def wrap_socket(self, sock, server_hostname):
            certificates.append(server_hostname)
            return sock

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    monkeypatch.setattr(ssl, "create_default_context", lambda: Plain())
    monkeypatch.setattr(urls.HTTPSConnection, "__init__", _without_context)
    return names, connected, certificates


def _without_context(self, host, port, context):
    super(urls.HTTPSConnection, self).__init__(host, port)


def test_a_picture_is_fetched_from_the_address_that_was_checked(internet):
    names, connected, certificates = internet
    answers = iter([[PUBLIC], ["127.0.0.1"]])  # the second look-up would be another machine: rebinding
    names["pictures.example"] = lambda: next(answers)
    Handler.pages["/a%20b/%C3%A9.jpg?x=1&y=%20"] = (200, {}, b"picture")
    assert urls.fetch("https://pictures.example/a b/é.jpg?x=1&y=%20#part") == b"picture"
    assert connected == [PUBLIC]
    assert certificates == ["pictures.example"]


def test_redirects_are_followed_and_counted(internet):
    for step in range(5):
        Handler.pages[f"/{step}"] = (302, {"Location": f"/{step + 1}"}, b"")
    Handler.pages["/5"] = (200, {}, b"picture")
    assert urls.fetch("https://pictures.example/0") == b"picture"
    Handler.pages["/5"] = (307, {"Location": "https://pictures.example/6"}, b"")
    with pytest.raises(urls.UrlError, match="more than 5 redirects"):
        urls.fetch("https://pictures.example/0")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("https://127.0.0.1/secret", "127.0.0.1, which is not public"),
        ("https://inside.example/secret", "10.0.0.7, which is not public"),
        ("http://pictures.example/secret", "not an https URL"),
        ("file:///etc/passwd", "not an https URL"),
        ("//127.0.0.1/secret", "not public"),
    ],
)
def test_a_redirect_leads_nowhere_private(internet, location, reason):
    names, connected, _ = internet
    names["inside.example"] = ["10.0.0.7"]
    Handler.pages["/a.jpg"] = (302, {"Location": location}, b"")
    Handler.pages["/secret"] = (200, {}, b"secret")
    with pytest.raises(urls.UrlError, match=reason):
        urls.fetch("https://pictures.example/a.jpg")
    assert connected == [PUBLIC]
    assert Handler.seen == ["/a.jpg"]


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:8.8.8.8", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:4136:e378::1"),
    ],
)
def test_addresses_that_are_not_public(internet, address):
    names, connected, _ = internet
    names["strange.example"] = [PUBLIC, address]  # one of them is enough
    with pytest.raises(urls.UrlError, match=r"strange\.example has the address .* not public"):
        urls.fetch("https://strange.example/a.jpg")
    assert connected == []


def test_public_addresses(internet):
    names, _, _ = internet
    names["both.example"] = ["2606:4700:4700::1111", "8.8.8.8"]
    assert urls.public_address("both.example", 443) == "2606:4700:4700::1111"


@pytest.mark.parametrize("url", ["http://pictures.example/a.jpg", "ftp://pictures.example/a", "https:///a", "a.jpg"])
def test_only_https(internet, url):
    with pytest.raises(urls.UrlError, match="not an https URL"):
        urls.fetch(url)
    assert internet[1] == []


def test_what_is_no_picture_for_us(internet, monkeypatch):
    monkeypatch.setattr(urls, "MAX_BYTES", 1000)
    Handler.pages["/missing"] = (404, {}, b"")
    Handler.pages["/said"] = (200, {"Content-Length": "1001"}, b"")
    Handler.pages["/unsaid"] = (200, {}, b"x" * 1001)
    Handler.pages["/fits"] = (200, {}, b"x" * 1000)
    assert len(urls.fetch("https://pictures.example/fits")) == 1000
    for page, reason in {"missing": "404", "said": "over 1,000 bytes", "unsaid": "over 1,000 bytes"}.items():
        with pytest.raises(urls.UrlError, match=f"pictures.example/{page}.*{reason}"):
            urls.fetch(f"https://pictures.example/{page}")


def test_five_seconds_are_for_all_of_it(internet, monkeypatch):
    names, _, _ = internet
    assert urls.MAX_SECONDS == 5
    monkeypatch.setattr(urls, "MAX_SECONDS", 0.5)
    names["slow.example"] = lambda: time.sleep(3)
    for url in ("https://slow.example/a", "https://pictures.example/drip"):
        started = time.monotonic()
        with pytest.raises(urls.UrlError, match=r"not fetched within 0\.5 seconds"):
            urls.fetch(url)
        assert time.monotonic() - started < 2


def test_the_certificate_is_checked(server, monkeypatch):
    """With the real context: a server that has no certificate is not listened to."""
    connect = socket.create_connection
    monkeypatch.setattr(urls, "public_address", lambda host, port: PUBLIC)
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: connect(server.server_address, timeout))
    with pytest.raises(urls.UrlError, match="pictures.example"):
        urls.fetch("https://pictures.example/a.jpg")
    assert Handler.seen == []
    context = urls._Connection("pictures.example", 443, 0).tls
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED
