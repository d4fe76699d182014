//! HTTP(S) GET: what `release`, `index` and `fetch` need of it.
//!
//! Proxies come from the environment (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`). Who the server is
//! matters little: everything that comes is checked by signature or hash.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

/// Where Debian and most others keep the machine's trusted roots.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that is silent for so long is given up, and the rest asked for anew.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How often and how patiently a failed request is made again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// Tries that bring no byte before giving up.
    pub(crate) tries: u32,
    /// Wait after the first; doubled after each.
    pub(crate) pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            tries: 5,
            pause: Duration::from_millis(500),
        }
    }
}

impl Retry {
    /// The wait before try number `failed + 1`.
    pub(crate) fn pause_after(&self, failed: u32) -> Duration {
        self.pause * (1 << failed.saturating_sub(1).min(6))
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server has no such file.
    NotFound,
    /// Anything else; trying again may help.
    Other(String),
}

/// The body of an answer.
pub(crate) struct Answer {
    pub(crate) body: Box<dyn Read + Send>,
    /// Where in the file the body begins.
    pub(crate) begins_at: u64,
}

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// A client as this machine's environment asks for.
    pub(crate) fn new() -> Self {
        let roots = system_roots().map_or(RootCerts::WebPki, |roots| {
            RootCerts::Specific(Arc::new(roots))
        });
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("bedplate/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(roots).build());
        // A test's server is on this machine, whatever proxy the environment names.
        let config = if cfg!(test) {
            config.proxy(None)
        } else {
            config
        };
        Client {
            agent: config.build().into(),
        }
    }

    /// Asks for `url` from byte `from` on; the answer says where it really begins.
    pub(crate) fn get(&self, url: &str, from: u64) -> Result<Answer, Failure> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request
            .call()
            .map_err(|error| Failure::Other(format!("{url}: {error}")))?;
        let begins_at = match response.status().as_u16() {
            200 => 0,
            206 => {
                let range = response
                    .headers()
                    .get("Content-Range")
                    .and_then(|range| range.to_str().ok())
                    .unwrap_or_default();
                if !range.starts_with(&format!("bytes {from}-")) {
                    return Err(Failure::Other(format!(
                        "{url}: answered the range \"{range}\", asked was byte {from} on"
                    )));
                }
                from
            }
            404 | 410 => return Err(Failure::NotFound),
            // The part here is as long as the file or longer: begin anew.
            416 if from > 0 => return self.get(url, 0),
            status => return Err(Failure::Other(format!("{url}: HTTP status {status}"))),
        };
        Ok(Answer {
            body: Box::new(response.into_body().into_reader()),
            begins_at,
        })
    }

    /// A whole small file, tried again as `retry` says.
    pub(crate) fn get_whole(
        &self,
        url: &str,
        bytes_max: u64,
        retry: Retry,
    ) -> Result<Vec<u8>, Failure> {
        let mut failed = 0;
        loop {
            let attempt = self.get(url, 0).and_then(|answer| {
                let mut body = Vec::new();
                let read = answer.body.take(bytes_max + 1).read_to_end(&mut body);
                read.map_err(|error| Failure::Other(format!("{url}: {error}")))?;
                if body.len() as u64 > bytes_max {
                    return Err(Failure::Other(format!(
                        "{url}: more than {bytes_max} bytes"
                    )));
                }
                Ok(body)
            });
            match attempt {
                Err(Failure::Other(message)) => {
                    failed += 1;
                    if failed >= retry.tries {
                        return Err(Failure::Other(message));
                    }
                    std::thread::sleep(retry.pause_after(failed));
                }
                done => return done,
            }
        }
    }
}

/// The machine's own trusted roots, which know a company's proxy too.
fn system_roots() -> Option<Vec<Certificate<'static>>> {
    let pem = std::fs::read(Path::new(SYSTEM_ROOTS)).ok()?;
    let roots: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    (!roots.is_empty()).then_some(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_stops_growing() {
        let retry = Retry::default();
        assert_eq!(retry.pause_after(1), Duration::from_millis(500));
        assert_eq!(retry.pause_after(3), Duration::from_secs(2));
        assert_eq!(retry.pause_after(99), Duration::from_secs(32));
    }
}
