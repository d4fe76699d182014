//! Certificate authorities: roots, intermediates, and the certificates they sign (RFC 5280).
//!
//! A root's key stays with the operator. Masters hold an intermediate per root; that of `node-api` may sign
//! servers only, so that a lost master makes no operators. Keys are ECDSA P-256 and are made where they
//! are used; others send a request (RFC 2986), of which only the public key is believed.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};

use crate::trust::{Holder, Identity, Purpose, Root};

/// How far certificates reach back, for clocks that are a little behind.
const BACKDATE: Duration = Duration::hours(1);
/// How long a root lasts.
const ROOT_LIFETIME: Duration = Duration::days(3650);
/// How long an intermediate lasts: it changes with the machine config.
const INTERMEDIATE_LIFETIME: Duration = Duration::days(1825);
/// How long an operator's certificate lasts.
const PERSON_LIFETIME: Duration = Duration::days(365);
/// How long every other certificate lasts; nodes renew theirs in the last third.
pub const LEAF_LIFETIME: Duration = Duration::days(90);

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The PEM of an authority is broken.
    #[error("not a certificate authority: {0}")]
    Authority(String),
    /// A request is broken or its signature is wrong.
    #[error("not a certificate request: {0}")]
    Request(String),
    /// The root of the authority does not stand for the purpose.
    #[error("an authority of {authority} signs no {purpose}")]
    WrongRoot {
        /// The authority's root.
        authority: Root,
        /// What was to be signed.
        purpose: Purpose,
    },
    /// A name cannot stand in a certificate.
    #[error("{0:?} cannot stand in a certificate")]
    Name(String),
    /// The library refused.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// A root or an intermediate, with its key.
pub struct Authority {
    root: Root,
    certificate: String,
    key: KeyPair,
    not_after: OffsetDateTime,
}

/// A certificate with the intermediates a peer needs, and its key, both PEM.
#[derive(Clone)]
pub struct Credentials {
    /// End certificate first.
    pub certificate: String,
    /// PKCS#8.
    pub key: String,
}

/// A new key and the request for its certificate, both PEM.
pub struct Request {
    /// PKCS#8; stays where it was made.
    pub key: String,
    /// PKCS#10; goes to the authority.
    pub request: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a root of its own.
    pub fn new_root(root: Root, cluster_id: &str) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let params = authority_params(&format!("{root} root"), cluster_id, ROOT_LIFETIME, None);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            root,
            certificate,
            key,
            not_after: params.not_after,
        })
    }

    /// Makes an intermediate for the named master, signed by this root.
    pub fn new_intermediate(&self, cluster_id: &str, master: &str) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let name = format!("{} intermediate of {master}", self.root);
        let mut params = authority_params(&name, cluster_id, INTERMEDIATE_LIFETIME, Some(0));
        params.not_after = params.not_after.min(self.not_after);
        if self.root == Root::NodeApi {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }
        let certificate = params.signed_by(&key, &self.issuer()?)?.pem();
        Ok(Self {
            root: self.root,
            certificate,
            key,
            not_after: params.not_after,
        })
    }

    /// Takes up an authority that was made before.
    pub fn from_pem(root: Root, certificate: &str, key: &str) -> Result<Self, Error> {
        let key = KeyPair::from_pem(key)
            .map_err(|_| Error::Authority("the key is not PKCS#8 in PEM".to_owned()))?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| Error::Authority(format!("the certificate is not PEM: {error}")))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| Error::Authority(format!("the certificate is not X.509: {error}")))?;
        if !parsed.is_ca() {
            return Err(Error::Authority(
                "the certificate may not sign others".to_owned(),
            ));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            return Err(Error::Authority(
                "certificate and key do not belong together".to_owned(),
            ));
        }
        let not_after = parsed.validity().not_after.to_datetime();
        Ok(Self {
            root,
            certificate: certificate.to_owned(),
            key,
            not_after,
        })
    }

    /// Its certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Its key, PKCS#8.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The root it stands under, or is.
    pub fn root(&self) -> Root {
        self.root
    }

    /// Makes a key and signs its certificate. `chain` is empty for a root, this authority's own
    /// certificate for an intermediate.
    pub fn issue(&self, identity: &Identity) -> Result<Credentials, Error> {
        let key = KeyPair::generate()?;
        Ok(Credentials {
            certificate: self.sign(identity, &key)?,
            key: key.serialize_pem(),
        })
    }

    /// Signs a request for this identity. Of the request only the public key is taken; its signature
    /// proves that the sender holds the key.
    pub fn sign_request(&self, request: &str, identity: &Identity) -> Result<String, Error> {
        let request = CertificateSigningRequestParams::from_pem(request)
            .map_err(|error| Error::Request(error.to_string()))?;
        self.sign(identity, &request.public_key)
    }

    fn sign(&self, identity: &Identity, key: &impl PublicKeyData) -> Result<String, Error> {
        let purpose = identity.holder.purpose;
        if purpose.root() != self.root {
            return Err(Error::WrongRoot {
                authority: self.root,
                purpose,
            });
        }
        let mut params = leaf_params(identity)?;
        params.not_after = params.not_after.min(self.not_after);
        let signed = params.signed_by(key, &self.issuer()?)?.pem();
        let self_signed = self.is_root()?;
        Ok(if self_signed {
            signed
        } else {
            format!("{signed}{}", self.certificate)
        })
    }

    fn is_root(&self) -> Result<bool, Error> {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes())
            .map_err(|error| Error::Authority(error.to_string()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|error| Error::Authority(error.to_string()))?;
        Ok(parsed.issuer() == parsed.subject())
    }

    fn issuer(&self) -> Result<rcgen::Issuer<'static, &KeyPair>, Error> {
        Ok(rcgen::Issuer::from_ca_cert_pem(
            &self.certificate,
            &self.key,
        )?)
    }
}

/// Makes a key and a request for it. The name in it is for people only.
pub fn request(name: &str) -> Result<Request, Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(&key)?.pem()?;
    Ok(Request {
        key: key.serialize_pem(),
        request,
    })
}

/// All four roots of a new cluster, with their keys: for the operator's folder.
#[derive(Debug)]
pub struct Roots {
    /// The cluster, 32 hex digits.
    pub cluster_id: String,
    authorities: Vec<Authority>,
}

impl Roots {
    /// Makes new ones.
    pub fn new(cluster_id: &str) -> Result<Self, Error> {
        let authorities: Result<Vec<_>, _> = Root::ALL
            .into_iter()
            .map(|root| Authority::new_root(root, cluster_id))
            .collect();
        Ok(Self {
            cluster_id: cluster_id.to_owned(),
            authorities: authorities?,
        })
    }

    /// Takes up four that were made before; `read` gives certificate and key of each.
    pub fn load<E: From<Error>>(
        cluster_id: &str,
        mut read: impl FnMut(Root) -> Result<(String, String), E>,
    ) -> Result<Self, E> {
        let mut authorities = Vec::new();
        for root in Root::ALL {
            let (certificate, key) = read(root)?;
            authorities.push(Authority::from_pem(root, &certificate, &key)?);
        }
        Ok(Self {
            cluster_id: cluster_id.to_owned(),
            authorities,
        })
    }

    /// One of them.
    pub fn get(&self, root: Root) -> Result<&Authority, Error> {
        let found = self
            .authorities
            .iter()
            .find(|authority| authority.root == root);
        found.ok_or_else(|| Error::Authority(format!("there is no root {root}")))
    }

    /// An intermediate under one of them, for the named master's machine config.
    pub fn intermediate(&self, root: Root, master: &str) -> Result<Authority, Error> {
        self.get(root)?.new_intermediate(&self.cluster_id, master)
    }

    /// The certificate of somebody who may do everything at node APIs.
    pub fn admin(&self, name: &str) -> Result<Credentials, Error> {
        self.person(Purpose::Admin, name)
    }

    /// A person's certificate: a client of node APIs, and of nothing else.
    pub fn person(&self, purpose: Purpose, name: &str) -> Result<Credentials, Error> {
        let holder = Holder::new(&self.cluster_id, purpose, name);
        self.get(Root::NodeApi)?.issue(&Identity {
            holder,
            addresses: Vec::new(),
        })
    }
}

fn subject(name: &str, cluster_id: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, format!("bedplate {cluster_id}"));
    subject.push(DnType::CommonName, name);
    subject
}

fn params(name: &str, cluster_id: &str, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.distinguished_name = subject(name, cluster_id);
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
    params
}

fn authority_params(
    name: &str,
    cluster_id: &str,
    lifetime: Duration,
    path: Option<u8>,
) -> CertificateParams {
    let mut params = params(name, cluster_id, lifetime);
    params.is_ca = IsCa::Ca(path.map_or(
        BasicConstraints::Unconstrained,
        BasicConstraints::Constrained,
    ));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(identity: &Identity) -> Result<CertificateParams, Error> {
    let Identity { holder, addresses } = identity;
    let uri = holder.uri();
    if Holder::from_uri(&uri).as_ref() != Some(holder) {
        return Err(Error::Name(holder.name.clone()));
    }
    let lifetime = if holder.purpose.is_person() {
        PERSON_LIFETIME
    } else {
        LEAF_LIFETIME
    };
    let mut params = params(&holder.name, &holder.cluster_id, lifetime);
    let name = |text: &str| text.try_into().map_err(|_| Error::Name(text.to_owned()));
    params.subject_alt_names.push(SanType::URI(name(&uri)?));
    if holder.purpose.serves() {
        params
            .subject_alt_names
            .push(SanType::DnsName(name(&holder.name)?));
    }
    params
        .subject_alt_names
        .extend(addresses.iter().copied().map(SanType::IpAddress));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if holder.purpose.serves() {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if holder.purpose.calls() {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "00112233445566778899aabbccddeeff";

    fn identity(purpose: Purpose, name: &str) -> Identity {
        let addresses = vec!["10.77.0.11".parse().unwrap(), "fd00::11".parse().unwrap()];
        Identity {
            holder: Holder::new(CLUSTER, purpose, name),
            addresses,
        }
    }

    fn holder(pem: &str) -> Holder {
        Holder::of(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_master_signs_the_request_of_a_node() {
        let roots = Roots::new(CLUSTER).unwrap();
        let master = roots.intermediate(Root::NodeApi, "dev-1").unwrap();
        let request = request("dev-9").unwrap();
        let chain = master
            .sign_request(&request.request, &identity(Purpose::Node, "dev-9"))
            .unwrap();
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
        assert_eq!(holder(&chain), Holder::new(CLUSTER, Purpose::Node, "dev-9"));
        assert!(request.key.contains("BEGIN PRIVATE KEY"));
    }

    #[test]
    fn an_authority_signs_only_for_its_root() {
        let roots = Roots::new(CLUSTER).unwrap();
        let etcd = roots.intermediate(Root::EtcdClient, "dev-1").unwrap();
        let refused = etcd.issue(&identity(Purpose::Admin, "alice")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "an authority of etcd-client signs no admin"
        );
    }

    #[test]
    fn an_authority_is_taken_up_again_from_its_pem() {
        let roots = Roots::new(CLUSTER).unwrap();
        let made = roots.intermediate(Root::Cluster, "dev-1").unwrap();
        let taken =
            Authority::from_pem(Root::Cluster, made.certificate_pem(), &made.key_pem()).unwrap();
        assert!(taken.issue(&identity(Purpose::Master, "dev-1")).is_ok());
        let other = roots.intermediate(Root::Cluster, "dev-2").unwrap();
        let mixed = Authority::from_pem(Root::Cluster, made.certificate_pem(), &other.key_pem())
            .unwrap_err();
        assert!(mixed.to_string().contains("do not belong together"));
        let leaf = made.issue(&identity(Purpose::Master, "dev-1")).unwrap();
        assert!(Authority::from_pem(Root::Cluster, &leaf.certificate, &leaf.key).is_err());
    }

    #[test]
    fn a_request_with_a_broken_signature_is_refused() {
        let roots = Roots::new(CLUSTER).unwrap();
        let good = request("dev-9").unwrap().request;
        let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
        let last = lines.len() - 2;
        let flipped = if lines[last].starts_with('A') {
            "B"
        } else {
            "A"
        };
        lines[last].replace_range(0..1, flipped);
        let authority = roots.get(Root::NodeApi).unwrap();
        for bad in [lines.join("\n"), "garbage".to_owned(), String::new()] {
            assert!(matches!(
                authority.sign_request(&bad, &identity(Purpose::Node, "dev-9")),
                Err(Error::Request(_))
            ));
        }
    }

    #[test]
    fn what_a_request_wishes_for_itself_is_ignored() {
        let roots = Roots::new(CLUSTER).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["dev-1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let wish = params.serialize_request(&key).unwrap().pem().unwrap();
        let authority = roots.intermediate(Root::NodeApi, "dev-1").unwrap();
        let chain = authority
            .sign_request(&wish, &identity(Purpose::Node, "dev-9"))
            .unwrap();
        let der = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert!(!parsed.is_ca());
        assert_eq!(holder(&chain).name, "dev-9");
    }

    #[test]
    fn a_name_that_would_end_the_uri_is_refused() {
        let roots = Roots::new(CLUSTER).unwrap();
        assert!(matches!(
            roots.admin("alice/../../node"),
            Err(Error::Name(_))
        ));
        assert_eq!(
            holder(&roots.admin("alice").unwrap().certificate).purpose,
            Purpose::Admin
        );
    }

    #[test]
    fn keys_are_not_in_debug() {
        let roots = Roots::new(CLUSTER).unwrap();
        let admin = roots.admin("alice").unwrap();
        assert!(!format!("{roots:?} {admin:?}").contains("PRIVATE"));
    }
}
