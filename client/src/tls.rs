//! rustls configurations that check root, purpose, cluster and name.
//!
//! rustls and webpki verify chain, times, usages and signatures; on top of that the verifiers here read the
//! [`Holder`] and refuse one of another cluster, for another purpose or of another name. A server is
//! known by its node's name, not by the address or the forwarded port it was reached at.

use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};

use crate::trust::{Holder, Purpose};

/// Why no TLS configuration was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Certificates cannot be read.
    #[error("{what} is not a list of certificates in PEM: {reason}")]
    Certificates {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The key cannot be read, or is another certificate's.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// A trust store without roots.
    #[error("the trust store is empty; give at least one root")]
    NoRoots,
    /// rustls refused.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The verifier could not be made.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// The name is no host name.
    #[error("{0:?} is not a host name")]
    Name(String),
}

/// A trust store of PEM certificates: a list, so that roots rotate.
pub fn trust_store<S: AsRef<str>>(roots: &[S]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for pem in roots {
        for certificate in certificates(pem.as_ref(), "the trust store")? {
            store.add(certificate)?;
        }
    }
    if store.is_empty() {
        Err(Error::NoRoots)
    } else {
        Ok(store)
    }
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Certificates {
            what,
            reason: error.to_string(),
        })
}

/// A certificate chain with its key, ready for a handshake.
pub fn certified_key(certificate: &str, key: &str) -> Result<CertifiedKey, Error> {
    let chain = certificates(certificate, "the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| Error::Key(error.to_string()))?;
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
    certified.keys_match()?;
    Ok(certified)
}

/// When a certificate of this PEM is to be renewed: two thirds into its life.
pub fn renewal_time(certificate: &str) -> Result<SystemTime, Error> {
    let refuse = |reason: String| Error::Certificates {
        what: "the certificate",
        reason,
    };
    let der = CertificateDer::from_pem_slice(certificate.as_bytes())
        .map_err(|error| refuse(error.to_string()))?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&der).map_err(|error| refuse(error.to_string()))?;
    let validity = parsed.validity();
    let (start, end) = (
        validity.not_before.timestamp().max(0),
        validity.not_after.timestamp().max(0),
    );
    let due = start.saturating_add(end.saturating_sub(start) / 3 * 2);
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(due).unwrap_or(0)))
}

/// Checks that a client that wants this server would take this certificate now.
pub fn verify(certificate: &str, server: &Server) -> Result<(), Error> {
    let chain = certificates(certificate, "the certificate")?;
    let Some((end, intermediates)) = chain.split_first() else {
        let reason = "there is none".to_owned();
        return Err(Error::Certificates {
            what: "the certificate",
            reason,
        });
    };
    let verifier = server_verifier(server, Arc::new(ring::default_provider()))?;
    verifier.verify_server_cert(end, intermediates, &verifier.name, &[], UnixTime::now())?;
    Ok(())
}

fn server_verifier(
    server: &Server,
    provider: Arc<CryptoProvider>,
) -> Result<ServerVerifier, Error> {
    let store = Arc::new(trust_store(&server.roots)?);
    let name =
        ServerName::try_from(server.name.clone()).map_err(|_| Error::Name(server.name.clone()))?;
    Ok(ServerVerifier {
        chain: WebPkiServerVerifier::builder_with_provider(store, provider).build()?,
        name,
        holder: Holder::new(&server.cluster_id, server.purpose, &server.name),
    })
}

/// A server's certificate, replaceable while connections run.
#[derive(Debug)]
pub struct ServerKey(RwLock<Arc<CertifiedKey>>);

impl ServerKey {
    /// Starts with this one.
    pub fn new(certificate: &str, key: &str) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(RwLock::new(Arc::new(certified_key(
            certificate,
            key,
        )?)))))
    }

    /// New connections see this one from now on.
    pub fn replace(&self, certificate: &str, key: &str) -> Result<(), Error> {
        let new = Arc::new(certified_key(certificate, key)?);
        *self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = new;
        Ok(())
    }
}

impl ResolvesServerCert for ServerKey {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.0
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
        )
    }
}

/// Which clients a server takes.
#[derive(Debug, Clone)]
pub struct Clients {
    /// The trust store, PEM.
    pub roots: Vec<String>,
    /// Their cluster.
    pub cluster_id: String,
    /// What their certificates may be for.
    pub purposes: &'static [Purpose],
    /// Whether one without a certificate is taken too; the server then asks per request.
    pub anonymous: bool,
}

/// Which server a client wants.
#[derive(Debug, Clone)]
pub struct Server {
    /// The trust store, PEM.
    pub roots: Vec<String>,
    /// Its cluster.
    pub cluster_id: String,
    /// What its certificate must be for.
    pub purpose: Purpose,
    /// Its node's name.
    pub name: String,
}

/// A server that asks its clients for certificates.
pub fn server_config(key: Arc<ServerKey>, clients: &Clients) -> Result<ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let store = Arc::new(trust_store(&clients.roots)?);
    let builder = WebPkiClientVerifier::builder_with_provider(store, provider.clone());
    let builder = if clients.anonymous {
        builder.allow_unauthenticated()
    } else {
        builder
    };
    let verifier = ClientVerifier {
        chain: builder.build()?,
        cluster_id: clients.cluster_id.clone(),
        purposes: clients.purposes,
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(key);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A client of one server, with a certificate of its own unless `own` is `None`.
pub fn client_config(own: Option<(&str, &str)>, server: &Server) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = server_verifier(server, provider.clone())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key_der = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|error| Error::Key(error.to_string()))?;
            builder.with_client_auth_cert(certificates(certificate, "the certificate")?, key_der)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A client of servers of others, which are known by a name in their certificate (RFC 9525): the caller names it with
/// each connection. It has no certificate of its own.
pub fn named_client_config<S: AsRef<str>>(roots: &[S]) -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trust_store(roots)?)
        .with_no_client_auth();
    Ok(config)
}

/// Makes ring the process's provider, for libraries that ask for one. Call it first in `main`.
pub fn install_provider() {
    // An error means that one is installed already.
    let _ = CryptoProvider::install_default(ring::default_provider());
}

fn refused(error: crate::trust::Error) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

/// The part that both verifier traits have in common: signatures are the chain verifier's.
macro_rules! signatures_by_chain {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.chain
                .verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.chain
                .verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.chain.supported_verify_schemes()
        }
    };
}

#[derive(Debug)]
struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    cluster_id: String,
    purposes: &'static [Purpose],
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.chain.verify_client_cert(end, intermediates, now)?;
        let holder = Holder::of(end).map_err(refused)?;
        holder
            .check(&self.cluster_id, self.purposes)
            .map_err(refused)?;
        Ok(verified)
    }

    signatures_by_chain!();
}

#[derive(Debug)]
struct ServerVerifier {
    chain: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
    holder: Holder,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _reached_at: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .chain
            .verify_server_cert(end, intermediates, &self.name, ocsp, now)?;
        let found = Holder::of(end).map_err(refused)?;
        found
            .check(&self.holder.cluster_id, &[self.holder.purpose])
            .map_err(refused)?;
        if found.name != self.holder.name {
            let (found, expected) = (found.name, self.holder.name.clone());
            return Err(refused(crate::trust::Error::WrongName { found, expected }));
        }
        Ok(verified)
    }

    signatures_by_chain!();
}

#[cfg(test)]
pub(crate) mod tests;
