"""Certificates are read from DER as OpenSSL wrote them, and anything else is refused."""

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from watchfloor.certificates import read_certificate

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


def der(
    begin: dt.datetime, end: dt.datetime, names: list[x509.GeneralName], organisation: str = "Example, Inc."
) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "example.com"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
        ]
    )
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(2**150 + 1)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_read_certificate_tells_who_whom_and_until_when():
    names = [
        x509.DNSName("example.com"),
        x509.DNSName("*.example.com"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    certificate = read_certificate(der(NOW - dt.timedelta(days=80), NOW + dt.timedelta(days=10, hours=12), names))
    assert certificate.subject == "CN=example.com, O=Example, Inc."
    assert certificate.issuer == "CN=Example CA"
    assert certificate.names[:3] == ("example.com", "*.example.com", "127.0.0.1")
    assert ipaddress.ip_address(certificate.names[3]) == ipaddress.ip_address("::1")
    assert certificate.days_left(NOW) == 10.5
    assert not certificate.self_issued
    assert certificate.to_json(NOW)["days_left"] == 10.5


def test_read_certificate_expired_has_negative_days_and_far_years_are_read():
    old = read_certificate(der(dt.datetime(1999, 1, 1), dt.datetime(2000, 1, 1), []))
    assert old.not_before.year == 1999
    assert old.days_left(NOW) < -9_000
    assert old.names == ()
    # Years from 2050 on are written in another form.
    assert read_certificate(der(dt.datetime(2020, 1, 1), dt.datetime(2060, 1, 1), [])).not_after.year == 2060


@pytest.mark.parametrize("broken", [b"", b"0", b"0\x82\xff\xff", b"no certificate at all", b"\x30\x03\x02\x01\x01"])
def test_read_certificate_refuses_what_is_none(broken):
    with pytest.raises(ValueError, match="no X.509 certificate"):
        read_certificate(broken)


def test_read_certificate_survives_every_cut_and_flip():
    whole = der(NOW, NOW + dt.timedelta(days=1), [x509.DNSName("a.example")])
    for at in range(0, len(whole), 3):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            try:
                read_certificate(data)
            except ValueError:
                continue


def test_read_certificate_refuses_what_is_too_large():
    with pytest.raises(ValueError, match="too large"):
        read_certificate(b"0" * 100_001)
