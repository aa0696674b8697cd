"""Certificates: what is issued passes, and each fault has its own name, holder, and remedy."""

from __future__ import annotations

import pickle
import stat

import pytest
from cryptography import x509
from pydantic import ValidationError

from mpc.errors import LocalError
from tests.wire.conftest import World, authority, identity
from tests.wire.forgery import dns, forged, in_a_week, long_ago, spoiled, uri
from wire import certificates
from wire.consortium import Consortium, load_consortium
from wire.errors import Unauthenticated
from wire.gatekeeper import Gatekeeper
from wire.private_files import write_private
from wire.tls import check_own


def _own() -> certificates.Issued:
    return certificates.issue(authority("bank-b"), "bank-b")


FAULTS = {
    "expired": (lambda: certificates.issue(authority("bank-b"), "bank-b", now=long_ago()), "certificate-expired"),
    "not yet valid": (
        lambda: certificates.issue(authority("bank-b"), "bank-b", now=in_a_week()), "certificate-not-yet-valid"
    ),
    "two DNS names": (
        lambda: forged("bank-b", [dns("bank-b"), dns("bank-c"), uri("bank-b")]), "certificate-names",
    ),
    "two URI names": (lambda: forged("bank-b", [dns("bank-b"), uri("bank-b"), uri("bank-c")]), "certificate-names"),
    "no URI name": (lambda: forged("bank-b", [dns("bank-b")]), "certificate-names"),
    "names of two parties": (lambda: forged("bank-b", [dns("bank-b"), uri("bank-c")]), "certificate-names"),
    "CN only": (lambda: forged("bank-b", []), "certificate-without-name"),
    "another party's name": (lambda: certificates.issue(authority("bank-b"), "bank-c"), "certificate-of-another"),
    "another CA": (lambda: certificates.issue(authority("bank-a"), "bank-b"), "certificate-of-another-ca"),
    "self-signed": (lambda: certificates.create_authority("bank-b"), "certificate-without-name"),
    "for servers only": (lambda: forged("bank-b", [dns("bank-b"), uri("bank-b")], uses=False), "certificate-use"),
    "a version that there is not": (
        lambda: spoiled(_own(), b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"), "certificate-unreadable",
    ),
    "an extension twice": (
        lambda: spoiled(_own(), b"\x06\x03\x55\x1d\x13", b"\x06\x03\x55\x1d\x11"), "certificate-unreadable",
    ),
    "not a certificate": (lambda: certificates.Issued(b"-----BEGIN NONSENSE-----", b""), "certificate-unreadable"),
    "far too long": (lambda: certificates.Issued(b"x" * 100_000, b""), "certificate-unreadable"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_certificate_has_its_own_error(fault):
    make, reason = FAULTS[fault]
    with pytest.raises(Unauthenticated) as caught:
        certificates.check(make().certificate_pem, "bank-b", authority("bank-b").certificate_pem)
    assert caught.value.reason == reason


def test_an_expired_certificate_names_holder_serial_date_and_the_command_that_mends_it():
    leaf = certificates.issue(authority("bank-b"), "bank-b", now=long_ago())
    serial = f"{x509.load_pem_x509_certificate(leaf.certificate_pem).serial_number:x}"
    with pytest.raises(Unauthenticated) as caught:
        check_own(identity("bank-b", leaf))
    error = caught.value
    assert error.what.startswith(f"not dialled: the certificate {serial} of bank-b expired on 20")
    assert (error.whose, error.advice) == ("bank-b", "on bank-b: party-node cert renew")


def test_an_issued_certificate_passes_and_carries_one_name_of_each_kind():
    leaf = certificates.issue(authority("bank-b"), "bank-b")
    certificate = certificates.check(leaf.certificate_pem, "bank-b", authority("bank-b").certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["bank-b", "jcr://party/bank-b"]


def test_a_certificate_counts_only_under_its_own_ca_though_all_are_pooled():
    world = World(("bank-a", "bank-b"))
    keeper = Gatekeeper(world.consortium, identity("bank-b"))
    assert keeper.identify(identity("bank-a").certificate_pem).role == "peer"
    with pytest.raises(Unauthenticated) as caught:
        keeper.identify(certificates.issue(authority("bank-a"), "conductor").certificate_pem)
    assert caught.value.reason == "certificate-of-another-ca"


def test_roles_come_from_the_consortium_file():
    keeper = Gatekeeper(World(("bank-a", "bank-b")).consortium, identity("bank-b"))
    roles = {party: keeper.identify(identity(party).certificate_pem).role for party in
             ("bank-a", "bank-b", "conductor")}
    assert roles == {"bank-a": "peer", "bank-b": "self", "conductor": "coordinator"}
    with pytest.raises(Unauthenticated, match="bank-z is not in the consortium file"):
        keeper.identify(identity("bank-z").certificate_pem)


def test_a_withdrawn_certificate_is_refused_though_it_is_in_force():
    leaf = identity("bank-a")
    serial = f"{x509.load_pem_x509_certificate(leaf.certificate_pem).serial_number:x}"
    keeper = Gatekeeper(World(("bank-a", "bank-b"), denied_serials=(serial,)).consortium, identity("bank-b"))
    with pytest.raises(Unauthenticated, match="was withdrawn"):
        keeper.identify(leaf.certificate_pem)
    assert keeper.identify(identity("bank-a").certificate_pem).party == "bank-a"


def test_the_directory_is_private_and_is_not_overwritten(tmp_path):
    made = certificates.create_directory(tmp_path / "tls", "bank-a")
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "tls").iterdir()} == {0o600}
    assert certificates.load(tmp_path / "tls", "bank-a") == made
    with pytest.raises(LocalError, match="already holds"):
        certificates.create_directory(tmp_path / "tls", "bank-a")


def test_renewal_makes_a_fresh_certificate_under_the_same_ca(tmp_path):
    first = certificates.create_directory(tmp_path, "bank-a")
    second = certificates.renew(tmp_path, "bank-a")
    assert second.ca_pem == first.ca_pem
    assert second.certificate_pem != first.certificate_pem
    certificates.check(second.certificate_pem, "bank-a", first.ca_pem)


def test_a_key_that_does_not_belong_to_the_certificate_is_noticed(tmp_path):
    certificates.create_directory(tmp_path, "bank-a")
    write_private(tmp_path / certificates.KEY_FILE, certificates.issue(authority("bank-a"), "bank-a").key_pem)
    with pytest.raises(Unauthenticated, match="does not belong to the private key"):
        certificates.load(tmp_path, "bank-a")


def test_private_keys_do_not_print_and_are_not_pickled():
    ours = identity("bank-a")
    assert "PRIVATE" not in repr(ours) + str(authority("bank-a"))
    with pytest.raises(TypeError):
        pickle.dumps(ours)


def consortium_toml(**changes: str) -> str:
    world = World(("bank-a", "bank-b")).consortium
    addresses = 'address = "h.example:1"\ndoctor = "h.example:2"\n'

    def entry(pinned, extra=""):
        return (f'id = "{pinned.id}"\nca = """\n{pinned.ca}"""\nca_fingerprint = "{pinned.ca_fingerprint}"\n'
                f'identity = "{pinned.identity}"\n{extra}')

    text = f"version = 1\n[coordinator]\n{entry(world.coordinator)}"
    for member in world.party:
        text += f"[[party]]\n{entry(member, addresses)}"
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def test_a_consortium_file_round_trips(tmp_path):
    path = tmp_path / "consortium.toml"
    path.write_text(consortium_toml())
    loaded = load_consortium(path)
    assert [member.id for member in loaded.party] == ["bank-a", "bank-b"]
    assert loaded.ca_of("bank-b") == authority("bank-b").certificate_pem


@pytest.mark.parametrize(("changes", "says"), [
    ({"ca_fingerprint = \"": "ca_fingerprint = \"0"}, "does not have the fingerprint"),
    ({"doctor =": "docter ="}, "doctor"),
    ({"h.example:1": "h.example"}, "address"),
    ({'id = "bank-b"': 'id = "bank-a"'}, "two entries have one id"),
    ({'id = "bank-b"': 'id = "Bank_B"'}, "id"),
    ({"version = 1": "version = 1 2"}, "not TOML"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_consortium_file_says_what_is_wrong(tmp_path, changes, says):
    path = tmp_path / "consortium.toml"
    path.write_text(consortium_toml(**changes))
    with pytest.raises(LocalError, match=says):
        load_consortium(path)


def test_two_parties_cannot_share_a_ca():
    world = World(("bank-a", "bank-b")).consortium.model_dump()
    world["party"][1] |= {"ca": world["party"][0]["ca"], "ca_fingerprint": world["party"][0]["ca_fingerprint"]}
    with pytest.raises(ValidationError, match="two entries have one CA"):
        Consortium.model_validate(world)
