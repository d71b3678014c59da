//! Addresses of files on servers: http and https, as users type them. What may be a secret in one never shows.

use super::digest::{Algorithm, Digest};
use crate::failure::Failure;
use std::fmt;
use ureq::http::Uri;

/// An http or https address of a file. It is printed without user, password and query.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    uri: Uri,
}

impl Address {
    /// The address that a text is meant to be; none if it names no http or https.
    ///
    /// # Errors
    /// What begins as one and is none.
    pub(crate) fn of(text: &str) -> Option<Result<Self, Failure>> {
        let (scheme, rest) = text.split_once(":/")?;
        let is_meant = ["http", "https"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known));
        is_meant.then(|| {
            let whole = text.split('#').next().unwrap_or(text);
            let uri = whole.parse::<Uri>().ok().filter(|uri| {
                uri.host().is_some_and(|host| !host.is_empty())
                    && matches!(uri.scheme_str(), Some("http" | "https"))
            });
            uri.map(|uri| Self { uri }).ok_or_else(|| {
                // Whatever stands before an @ may be a password.
                let known = rest.rsplit('@').next().unwrap_or(rest).trim_start_matches('/');
                let known = known.split('?').next().unwrap_or(known);
                Failure::coded(
                    "InvalidParameterValue",
                    format!(
                        "{scheme}://{} is no address: {scheme}://HOST/PATH, with other characters than letters, digits and \
                         -._~ written as %XX",
                        known.escape_debug()
                    ),
                )
            })
        })
    }

    /// As it is asked for.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The host's name, with its port if that is not the usual one.
    pub(crate) fn host(&self) -> String {
        let host = self.uri.host().unwrap_or_default();
        match self.uri.port_u16() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Whether it is an https address.
    pub(super) fn is_private(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// The last part of its path.
    pub(crate) fn file_name(&self) -> &str {
        self.uri.path().rsplit('/').next().unwrap_or_default()
    }

    /// The address of a file beside this one, without a query.
    pub(super) fn beside(&self, name: &str) -> Option<Self> {
        let folder = self.uri.path().strip_suffix(self.file_name())?;
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(format!("{folder}{name}").parse().ok()?);
        Uri::from_parts(parts).ok().map(|uri| Self { uri })
    }

    /// A name for its file in the cache: another address has another one, and people know it again.
    pub(super) fn name_in_cache(&self) -> String {
        let digest = Digest::of_bytes(Algorithm::Sha256, self.uri.to_string().as_bytes());
        let known: String = self
            .file_name()
            .chars()
            .take(80)
            .map(|c| {
                if c.is_ascii_alphanumeric() || "._-".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        format!("{}-{known}", digest.hex().get(..16).unwrap_or_default())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}{}", self.host(), self.uri.path())?;
        if self.uri.query().is_some() {
            f.write_str("?…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Address {
        Address::of(text).expect("it is meant as one").expect("it is one")
    }

    #[test]
    fn a_user_a_password_and_a_query_never_show() {
        let address = of("https://me:s3cret@example.org:8443/a/disk.img?X-Signature=s3cret#s3cret");
        assert_eq!(address.to_string(), "https://example.org:8443/a/disk.img?…");
        assert_eq!(format!("{address:?}"), address.to_string());
        assert!(!address.name_in_cache().contains("s3cret"));
        for wrong in [
            "https://me:s3/cret@exa mple/x",
            "http:///x",
            "http://me:s3cret@/x?s3cret",
            "http:/x",
        ] {
            let failure = Address::of(wrong)
                .expect("it is meant as one")
                .expect_err("it is none");
            assert!(!failure.message.contains("s3"), "{failure:?}");
        }
    }

    #[test]
    fn what_names_neither_http_nor_https_is_no_address() {
        for file in ["disk.img", "/a/b", "s3://bucket/x", "c:/disk", "./http://x/y", ""] {
            assert!(Address::of(file).is_none(), "{file}");
        }
        assert!(Address::of("HTTPS://example.org/x").expect("one").is_ok());
    }

    #[test]
    fn a_file_beside_has_the_same_folder_and_no_query() {
        let address = of("https://example.org/a/disk.img?x=1");
        let beside = address.beside("SHA256SUMS").expect("an address");
        assert_eq!(beside.to_string(), "https://example.org/a/SHA256SUMS");
        assert_eq!(beside.file_name(), "SHA256SUMS");
        assert_ne!(beside.name_in_cache(), address.name_in_cache());
    }
}
