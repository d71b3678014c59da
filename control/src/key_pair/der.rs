//! As much of DER (X.690) as fingerprints of RSA keys are made of (RFC 8017, appendix A.1; RFC 5280; RFC 5208).

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `SEQUENCE { OBJECT IDENTIFIER rsaEncryption, NULL }`
const RSA: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut all = vec![tag];
    let bytes = content.len().to_be_bytes();
    let length = bytes
        .iter()
        .position(|byte| *byte != 0)
        .and_then(|at| bytes.get(at..));
    match length.unwrap_or(&[0]) {
        [short @ 0..=0x7f] => all.push(*short),
        long => {
            all.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            all.extend(long);
        }
    }
    all.extend(content);
    all
}

/// A positive number of these bytes, the most significant first.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let has_sign = bytes.first().is_none_or(|first| first & 0x80 != 0);
    let sign: &[u8] = if has_sign { &[0] } else { &[] };
    element(INTEGER, &[sign, bytes].concat())
}

/// `SubjectPublicKeyInfo` of an RSA key of this modulus and exponent.
pub(super) fn public_rsa(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = element(SEQUENCE, &[modulus, exponent].concat());
    let bits = element(BIT_STRING, &[&[0], key.as_slice()].concat());
    element(SEQUENCE, &[RSA.as_slice(), &bits].concat())
}

/// `PrivateKeyInfo` of an RSA key in PKCS #1.
pub(super) fn private_rsa(pkcs1: &[u8]) -> Vec<u8> {
    let version = integer(&[]);
    let key = element(OCTET_STRING, pkcs1);
    element(SEQUENCE, &[version.as_slice(), &RSA, &key].concat())
}
