"""Which URLs are fetched, and how. A local TLS server stands for the public Internet; nothing reaches the network."""

import io
import shutil
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny
from transformers import pipeline

from mmsent.modeling import common_urls as urls
from mmsent.modeling.common_images import BadImageError
from mmsent.modeling.common_pipeline import TASK

PUBLIC = "93.184.216.34"
HOST = "pictures.example"


class Handler(BaseHTTPRequestHandler):
    pages: dict[str, tuple[int, dict, bytes]] = {}
    seen: list[str] = []

    def do_GET(self):
        self.seen.append(self.path)
        if self.path == "/drip":  # one byte at a time: no single read takes long
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


class Server(ThreadingHTTPServer):
    def handle_error(self, *args):  # a client that refuses the certificate
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A file with a key and a certificate for HOST, which signs itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl, which makes a certificate")
    path = tmp_path_factory.mktemp("tls") / "host.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", f"/CN={HOST}"]
    command += ["-addext", f"subjectAltName=DNS:{HOST}", "-keyout", "-", "-out", "-"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


@pytest.fixture
def server(certificate):
    Handler.pages, Handler.seen = {}, []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def names(monkeypatch) -> dict:
    """The addresses of each host, or a function that returns them."""
    names = {HOST: [PUBLIC], "localhost": ["127.0.0.1"]}

    def resolve(host, port, *args, **kwargs):
        addresses = names.get(host, [host])
        if callable(addresses):
            addresses = addresses()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


@pytest.fixture
def connected(names, server, certificate, monkeypatch) -> list[str]:
    """The addresses that a client connects to. The local server answers for PUBLIC, and its certificate is trusted."""
    connected, connect = [], socket.create_connection

    def create_connection(address, timeout):
        connected.append(address[0])
        assert address[0] == PUBLIC
        return connect(server.server_address, timeout)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return connected


def test_an_image_is_fetched_from_the_address_that_was_checked(names, connected):
    answers = iter([[PUBLIC], ["127.0.0.1"]])  # DNS rebinding: a second look-up would lead to another machine
    names[HOST] = lambda: next(answers)
    Handler.pages["/a%20b/%C3%A9.jpg?x=1&y=%20"] = (200, {}, b"picture")
    assert urls.fetch(f"https://{HOST}/a b/é.jpg?x=1&y=%20#part") == b"picture"
    assert connected == [PUBLIC]


def test_the_certificate_is_checked(names, connected, monkeypatch):
    names["other.example"] = [PUBLIC]
    with pytest.raises(urls.UrlError, match=r"other\.example.*Hostname mismatch"):
        urls.fetch("https://other.example/a.jpg")
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(urls.UrlError, match="self.signed certificate"):
        urls.fetch(f"https://{HOST}/a.jpg")
    assert connected == [PUBLIC, PUBLIC]
    assert Handler.seen == []


def test_redirects_are_followed_and_counted(connected):
    for step in range(5):
        Handler.pages[f"/{step}"] = (302, {"Location": f"/{step + 1}"}, b"")
    Handler.pages["/5"] = (200, {}, b"picture")
    assert urls.fetch(f"https://{HOST}/0") == b"picture"
    Handler.pages["/5"] = (307, {"Location": f"https://{HOST}/6"}, b"")
    with pytest.raises(urls.UrlError, match="more than 5 redirects"):
        urls.fetch(f"https://{HOST}/0")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("https://127.0.0.1/secret", "127.0.0.1, which is not public"),
        ("https://inside.example/secret", "10.0.0.7, which is not public"),
        (f"http://{HOST}/secret", "not an https URL"),
        ("file:///etc/passwd", "not an https URL"),
        ("//127.0.0.1/secret", "not public"),
    ],
)
def test_a_redirect_cannot_lead_to_a_private_address(names, connected, location, reason):
    names["inside.example"] = ["10.0.0.7"]
    Handler.pages = {"/a.jpg": (302, {"Location": location}, b""), "/secret": (200, {}, b"secret")}
    with pytest.raises(urls.UrlError, match=reason):
        urls.fetch(f"https://{HOST}/a.jpg")
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
def test_addresses_that_are_not_public(names, address):
    names["strange.example"] = [PUBLIC, address]  # a single one is enough to refuse the host
    with pytest.raises(urls.UrlError, match=r"strange\.example has the address .* not public"):
        urls.fetch("https://strange.example/a.jpg")


def test_public_addresses(names):
    names["both.example"] = ["2606:4700:4700::1111", "8.8.8.8"]
    assert urls.public_address("both.example", 443) == "2606:4700:4700::1111"


@pytest.mark.parametrize("url", [f"http://{HOST}/a.jpg", f"ftp://{HOST}/a", "https:///a", "a.jpg"])
def test_only_https(names, url):
    with pytest.raises(urls.UrlError, match="not an https URL"):
        urls.fetch(url)


def test_limits_on_status_and_size(connected, monkeypatch):
    monkeypatch.setattr(urls, "MAX_BYTES", 1000)
    Handler.pages = {
        "/missing": (404, {}, b""),
        "/announced": (200, {"Content-Length": "1001"}, b""),
        "/unannounced": (200, {}, b"x" * 1001),
        "/fits": (200, {}, b"x" * 1000),
    }
    assert len(urls.fetch(f"https://{HOST}/fits")) == 1000
    for page, reason in {"missing": "404", "announced": "over 1,000 bytes", "unannounced": "over 1,000 bytes"}.items():
        with pytest.raises(urls.UrlError, match=f"{HOST}/{page}.*{reason}"):
            urls.fetch(f"https://{HOST}/{page}")


@pytest.mark.parametrize("url", ["https://slow.example/a", f"https://{HOST}/drip"])
def test_the_limit_on_time_covers_every_step(names, connected, monkeypatch, url):
    assert urls.MAX_SECONDS == 5
    monkeypatch.setattr(urls, "MAX_SECONDS", 0.5)
    names["slow.example"] = lambda: time.sleep(2)
    with pytest.raises(urls.UrlError, match=r"not fetched within 0\.5 seconds"):
        urls.fetch(url)


def test_the_pipeline_fetches_images_only_if_allowed(connected, backbones):
    processor, model = tiny.build("comn", "own", backbones)
    classify = pipeline(TASK, model=model, processor=processor, device="cpu")
    file = io.BytesIO()
    tiny.picture(0).save(file, "PNG")
    Handler.pages["/a.png"] = (200, {}, file.getvalue())
    post = {"images": [f"https://{HOST}/a.png"]}
    with pytest.raises(ValueError, match=r"pictures\.example/a\.png is a URL.*allow_urls=True"):
        classify(post)
    assert connected == []
    assert classify(post, allow_urls=True) == classify({"image": tiny.picture(0)})
    for url in ("HTTPS://127.0.0.1/a.png", "https://localhost/a.png", "http://127.0.0.1/a.png", "https://[::1]/a.png"):
        with pytest.raises(BadImageError, match="not public|not an https URL"):
            classify({"image": url}, allow_urls=True)
