//! The HTTP client: one request at a time, with bounds on waiting and on redirects, and failures in words.

use super::address::Address;
use super::certificates;
use super::names::Names;
use crate::failure::Failure;
use kiln_control::Code;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::Response;
use ureq::tls::TlsConfig;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Error, Timeout};

/// Redirects that are followed; more of them lead nowhere.
const REDIRECTS: u32 = 10;

/// How long is waited for a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For a connection, and before it for the host's address.
    pub(super) connecting: Duration,
    /// For its next bytes.
    pub(super) silence: Duration,
    /// Before a download that was cut goes on.
    pub(super) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connecting: Duration::from_secs(20),
            silence: Duration::from_secs(60),
            pause: Duration::from_secs(2),
        }
    }
}

/// Where an https address may lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// To https only: what comes is believed.
    ToHttps,
    /// Anywhere: what comes is verified.
    Anywhere,
}

/// The client.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    pub(super) patience: Patience,
}

impl Client {
    /// A client with the host's certificates, and the proxy that the environment names.
    pub(crate) fn new() -> Self {
        Self::with(Patience::default(), ureq::Proxy::try_from_env())
    }

    pub(super) fn with(patience: Patience, proxy: Option<ureq::Proxy>) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(certificates::of_this_host())
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience.connecting))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .timeout_per_write(Some(patience.silence))
            .proxy(proxy)
            .tls_config(tls)
            .build();
        let names = Names {
            patience: patience.connecting,
        };
        Self {
            agent: Agent::with_parts(config, DefaultConnector::default(), names),
            patience,
        }
    }

    /// Asks for the file at an address, with these headers besides the usual ones. Whatever the server answers is no
    /// error.
    ///
    /// # Errors
    /// [`Code::Unavailable`] where the server is out of reach.
    pub(super) fn get(
        &self,
        address: &Address,
        headers: &[(&'static str, String)],
        leads: Leads,
    ) -> Result<Response<Body>, Failure> {
        let only_https = address.is_private() && leads == Leads::ToHttps;
        let mut request = self
            .agent
            .get(address.uri().clone())
            .config()
            .https_only(only_https)
            .build()
            // Bytes as the file has them.
            .header("accept-encoding", "identity");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.call().map_err(|error| self.failed(address, error))
    }

    /// A server's failure, in words. Those of the library may have an address with a password in it.
    pub(super) fn failed(&self, address: &Address, error: Error) -> Failure {
        let host = address.host();
        let within = |time: Duration| format!("{time:?}");
        let (code, message) = match error {
            Error::HostNotFound => (
                Code::Unavailable,
                format!(
                    "{host} is not found: is this host on a network, or does it need a proxy (HTTPS_PROXY)?"
                ),
            ),
            Error::Timeout(Timeout::Resolve | Timeout::Connect) => (
                Code::Unavailable,
                format!(
                    "{host} does not answer within {}",
                    within(self.patience.connecting)
                ),
            ),
            Error::Timeout(_) => (
                Code::Unavailable,
                format!("{host} was silent for {}", within(self.patience.silence)),
            ),
            Error::Io(error) => (Code::Unavailable, format!("{host} is out of reach: {error}")),
            Error::ConnectionFailed => (Code::Unavailable, format!("{host} is out of reach")),
            Error::ConnectProxyFailed(why) => (
                Code::Unavailable,
                format!("the proxy that the environment names does not connect to {host}: {why}"),
            ),
            Error::TooManyRedirects => (
                Code::InvalidParameterValue,
                format!("{address} leads from one address to the next, and to no file within {REDIRECTS}"),
            ),
            Error::RequireHttpsOnly(_) => (
                Code::InvalidParameterValue,
                format!(
                    "{address} leads to an address that is not https, where anybody may change what comes: give its digest \
                     (--sha256, --sha512)"
                ),
            ),
            Error::Rustls(error) => (
                Code::Unavailable,
                format!(
                    "{host} cannot be trusted ({error}): the package ca-certificates has the certificates of public servers, \
                     and SSL_CERT_FILE names a file of others"
                ),
            ),
            Error::Http(_) | Error::BadUri(_) | Error::RedirectFailed => (
                Code::InvalidParameterValue,
                format!("{address} leads to something that is no address"),
            ),
            Error::Protocol(error) => (
                Code::Unavailable,
                format!("{host} does not speak HTTP as it should: {error}"),
            ),
            other => (
                Code::Unavailable,
                format!("{host} cannot be asked for a file: {other}"),
            ),
        };
        Failure::coded(code.as_str(), message)
    }
}
