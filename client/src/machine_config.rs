//! Reading a machine config whole: the document, and what its certificates say. The node and `bedplate config check`
//! refuse with the same words.

use spec_config::{Config, Error, Hidden, Pem, Secret};

use crate::ca::Authority;
use crate::tls::trust_store;
use crate::trust::Root;

/// Reads a document; each root must be a certificate, each issuer one with its key, of the cluster the config names.
pub fn read(document: &[u8], hidden: Hidden<'_>) -> Result<Config, Error> {
    let config = Config::parse_bytes(document, hidden)?;
    let text = str::from_utf8(document).unwrap_or_default();
    check_roots(&config, text)?;
    check_issuers(&config, text)?;
    Ok(config)
}

fn check_roots(config: &Config, text: &str) -> Result<(), Error> {
    for (name, store) in config.trust.stores() {
        for (index, root) in store.roots.iter().enumerate() {
            trust_store(&[Pem::as_str(root)]).map_err(|error| {
                Error::of_field(
                    text,
                    format!("trust.{name}.roots[{index}]"),
                    error.to_string(),
                )
            })?;
        }
    }
    Ok(())
}

fn check_issuers(config: &Config, text: &str) -> Result<(), Error> {
    let Some(issuers) = &config.trust.issuers else {
        return Ok(());
    };
    let roots = [
        Root::NodeApi,
        Root::EtcdPeer,
        Root::EtcdClient,
        Root::Cluster,
    ];
    for (root, (name, issuer)) in roots.into_iter().zip(issuers.all()) {
        if is_hidden(&issuer.key) {
            continue;
        }
        Authority::from_pem(root, issuer.certificate.as_str(), issuer.key.expose()).map_err(
            |error| Error::of_field(text, format!("trust.issuers.{name}"), error.to_string()),
        )?;
    }
    Ok(())
}

fn is_hidden(secret: &Secret) -> bool {
    secret.expose() == spec_config::HIDDEN
}
