"""Keys: clients with the right ones get frames; others get nothing and do no harm."""

import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq
from zmq.auth import load_certificate

from sweepdepth.capture.errors import RecordingError, WireError
from sweepdepth.stream.wire.keys import load_clients, load_key_pair, load_public_key, new_keys
from sweepdepth.stream.wire.messages import DepthFrame
from sweepdepth.stream.wire.publisher import Publisher
from sweepdepth.stream.wire.subscriber import Subscriber

FrameMaker = Callable[..., DepthFrame]


@dataclass(frozen=True)
class Keyring:
    """`server` publishes, `alice` is allowed, `mallory` is not."""

    folder: Path
    clients: Path

    def secret(self, name: str) -> Path:
        return self.folder / f"{name}.key_secret"

    def public(self, name: str) -> Path:
        return self.folder / f"{name}.key"


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    for name in ("server", "alice", "mallory"):
        new_keys(name, tmp_path)
    clients = tmp_path / "clients"
    clients.mkdir()
    (clients / "alice.key").write_bytes((tmp_path / "alice.key").read_bytes())
    return Keyring(tmp_path, clients)


@pytest.fixture
def publisher(keyring: Keyring) -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:*", keyring.secret("server"), keyring.clients) as publisher:
        yield publisher


@pytest.fixture
def alice(publisher: Publisher, keyring: Keyring) -> Iterator[Subscriber]:
    with Subscriber(
        publisher.address, keys=keyring.secret("alice"), server_key=keyring.public("server"), timeout=10
    ) as alice:
        assert publisher.wait_for_subscribers(1, timeout=10)
        yield alice


def test_the_right_keys_receive(publisher: Publisher, alice: Subscriber, make_frame: FrameMaker) -> None:
    for k in range(3):
        publisher.publish(make_frame(k, 346, 260))
        got = alice.receive(10)
        assert isinstance(got, DepthFrame)
        assert got.depth.tobytes() == make_frame(k, 346, 260).depth.tobytes()


@pytest.mark.parametrize(
    "name, server, complaint",
    [
        ("alice", "mallory", "or has other keys"),
        ("mallory", "server", "does not accept this client"),
        (None, None, "or has other keys|only one side has keys"),
    ],
)
def test_other_keys_or_none_receive_nothing_and_harm_nothing(
    name: str | None,
    server: str | None,
    complaint: str,
    publisher: Publisher,
    alice: Subscriber,
    keyring: Keyring,
    make_frame: FrameMaker,
) -> None:
    with Subscriber(
        publisher.address,
        keys=keyring.secret(name) if name else None,
        server_key=keyring.public(server) if server else None,
        timeout=0.2,
    ) as stranger:
        assert not publisher.wait_for_subscribers(2, timeout=0.5)
        for k in range(5):
            publisher.publish(make_frame(k))
            got = alice.receive(10)
            assert got is not None
            assert (got.seq, got.lost) == (k, 0)
        with pytest.raises(WireError, match=complaint):
            next(iter(stranger))
        assert publisher.subscribers == 1


def test_a_client_can_connect_once_it_is_on_the_list(keyring: Keyring, make_frame: FrameMaker) -> None:
    first = Publisher("tcp://127.0.0.1:*", keyring.secret("server"), keyring.clients)
    with Subscriber(first.address, keys=keyring.secret("mallory"), server_key=keyring.public("server")) as subscriber:
        assert subscriber.receive(0.2) is None
        first.close()
        (keyring.clients / "mallory.key").write_bytes(keyring.public("mallory").read_bytes())
        with Publisher(first.address, keyring.secret("server"), keyring.clients) as second:
            deadline = time.monotonic() + 10
            while not second.subscribers and time.monotonic() < deadline:
                assert subscriber.receive(0.1) is None
            second.publish(make_frame(0))
            assert isinstance(subscriber.receive(10), DepthFrame)


def test_keys_on_one_side_only_do_not_connect(keyring: Keyring, make_frame: FrameMaker) -> None:
    with (
        Publisher("tcp://127.0.0.1:*") as publisher,
        Subscriber(publisher.address, keys=keyring.secret("alice"), server_key=keyring.public("server")) as subscriber,
    ):
        assert not publisher.wait_for_subscribers(1, timeout=0.5)
        publisher.publish(make_frame(0))
        assert subscriber.receive(0.2) is None


def test_with_keys_every_address_may_be_bound(keyring: Keyring, make_frame: FrameMaker) -> None:
    with Publisher("tcp://0.0.0.0:*", keyring.secret("server"), keyring.clients) as publisher:
        address = publisher.address.replace("0.0.0.0", "127.0.0.1")
        with Subscriber(address, keys=keyring.secret("alice"), server_key=keyring.public("server")) as alice:
            assert publisher.wait_for_subscribers(1, timeout=10)
            publisher.publish(make_frame(0))
            assert isinstance(alice.receive(10), DepthFrame)


def test_keys_need_a_list_of_clients(keyring: Keyring, tmp_path: Path) -> None:
    address, secret = "tcp://0.0.0.0:*", keyring.secret("server")
    with pytest.raises(WireError, match="give both the key file and the clients' folder"):
        Publisher(address, keys=secret)
    with pytest.raises(WireError, match="give both the key file and the clients' folder"):
        Publisher(address, clients=keyring.clients)
    with pytest.raises(WireError, match=r"nowhere: is not a folder"):
        Publisher(address, secret, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WireError, match=r"empty: holds no \.key file; copy"):
        Publisher(address, secret, tmp_path / "empty")
    with pytest.raises(WireError, match=r"server\.key: holds no secret key"):
        Publisher(address, keyring.public("server"), keyring.clients)


def test_new_keys_are_a_pair_of_which_only_the_owner_reads_the_secret(tmp_path: Path) -> None:
    public, secret = new_keys("bob", tmp_path / "new folder")
    assert (public.name, secret.name) == ("bob.key", "bob.key_secret")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    pair = load_key_pair(secret)
    assert zmq.curve_public(pair.secret) == pair.public == load_public_key(public) == load_public_key(secret)
    assert pair.secret not in public.read_bytes()
    assert pair.secret.decode() not in repr(pair)
    assert load_certificate(secret) == (pair.public, pair.secret)


def test_keys_are_replaced_only_by_force(tmp_path: Path) -> None:
    public, secret = new_keys("bob", tmp_path)
    before = secret.read_bytes()
    with pytest.raises(WireError, match=r"bob\.key: exists already; .*--force"):
        new_keys("bob", tmp_path)
    public.unlink()
    with pytest.raises(WireError, match=r"bob\.key_secret: exists already"):
        new_keys("bob", tmp_path)
    assert secret.read_bytes() == before

    secret.chmod(0o644)
    new_keys("bob", tmp_path, force=True)
    assert secret.read_bytes() != before
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/bob", "-rf", "bob smith", "bob\n"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WireError, match="expected letters"):
        new_keys(name, tmp_path)


def test_an_unwritable_key_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="file: the folder cannot be made"):
        new_keys("bob", tmp_path / "file")


def test_damaged_missing_and_open_key_files_are_refused(tmp_path: Path) -> None:
    public, secret = new_keys("bob", tmp_path)
    with pytest.raises(WireError, match="cannot be read"):
        load_public_key(tmp_path / "nobody.key")
    for content, complaint in {
        b"": "no public key",
        b"\xff\xfe\x00": "no public key",
        b"curve\n  public-key\n": "no public key",
        b'curve\n  public-key = "short"\n': "damaged key",
        b'curve\n  public-key = "' + b"~" * 40 + b'"\n': "damaged key",
    }.items():
        public.write_bytes(content)
        with pytest.raises(WireError, match=complaint):
            load_clients(tmp_path)
    secret.chmod(0o640)
    with pytest.raises(WireError, match=r"others may read this secret key; run: chmod 600"):
        load_key_pair(secret)
