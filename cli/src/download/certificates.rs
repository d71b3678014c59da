//! The certificates of those whom this host trusts to know servers: where distributions keep them.

use std::path::PathBuf;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Files of all of them: of Debian, Alpine and Arch; Fedora and its like; openSUSE; others.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Those that SSL_CERT_FILE names, else the host's. A host without any trusts no https server, and its failure says so.
pub(super) fn of_this_host() -> RootCerts {
    let named = std::env::var_os("SSL_CERT_FILE")
        .filter(|name| !name.is_empty())
        .map(PathBuf::from);
    let all = named.into_iter().chain(BUNDLES.iter().map(PathBuf::from));
    let mut read = all.filter_map(|file| std::fs::read(file).ok());
    let found = read.find_map(|pem| {
        let certificates = of(&pem);
        (!certificates.is_empty()).then_some(certificates)
    });
    RootCerts::from(found.unwrap_or_default())
}

fn of(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_read_and_what_stands_between_them_is_passed_over() {
        let pem = "# a comment\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nwords\n-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let all = of(pem.as_bytes());
        assert_eq!(all.iter().map(|one| one.der().len()).collect::<Vec<_>>(), [3, 3]);
        assert!(of(b"nothing").is_empty());
    }
}
