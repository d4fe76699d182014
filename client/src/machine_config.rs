//! Reading a machine config whole: the document, and what its certificates say. The node and `bedplate config check`
//! refuse with the same words.

use spec_config::{Config, Error, Hidden, Pem, Secret};

use crate::ca::Authority;
use crate::tls::trust_store;
use crate::trust::Root;

/// Reads a document; each root must be a certificate, each issuer one with its key.
pub fn read(document: &[u8], hidden: Hidden<'_>) -> Result<Config, Error> {
    let config = Config::parse_bytes(document, hidden)?;
    let text = str::from_utf8(document).unwrap_or_default();
    check_roots(&config, text)?;
    check_issuers(&config, text)?;
    Ok(config)
}

fn check_roots(config: &Config, text: &str) -> Result<(), Error> {
    let stores = config.trust.stores();
    let stores = stores.map(|(name, store)| (format!("trust.{name}.roots"), &store.roots));
    let resolver = (
        "network.resolver.roots".to_owned(),
        &config.network.resolver.roots,
    );
    for (path, roots) in stores.into_iter().chain([resolver]) {
        for (index, root) in roots.iter().enumerate() {
            trust_store(&[Pem::as_str(root)]).map_err(|error| {
                Error::of_field(text, format!("{path}[{index}]"), error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Roots;

    const CLUSTER: &str = "00112233445566778899aabbccddeeff";
    const NO_CERTIFICATE: &str =
        "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n";

    /// The document of an agent; each root is written by its name.
    fn agent(root: impl Fn(Root) -> String, more: &str) -> String {
        let store = |name: &str, of| format!("{name} = {{ roots = [\"{}\"] }}\n", root(of));
        let trust = [
            store("node_api", Root::NodeApi),
            store("etcd_peer", Root::EtcdPeer),
            store("etcd_client", Root::EtcdClient),
            store("cluster", Root::Cluster),
        ];
        format!(
            "schema = 1\n[cluster]\nid = \"{CLUSTER}\"\nname = \"dev\"\n\
             masters = [{{ name = \"dev-1\", address = \"10.77.0.11\" }}]\n\
             join_token = \"join-token-of-the-test\"\n[node]\nhostname = \"dev-2\"\n{more}[trust]\n{}",
            trust.concat()
        )
    }

    fn refused(document: &str) -> String {
        read(document.as_bytes(), Hidden::Refuse)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn every_root_must_be_a_certificate() {
        let roots = Roots::new(CLUSTER).unwrap();
        let pem = |root| {
            let certificate = roots.get(root).unwrap().certificate_pem();
            certificate.replace('\n', "\\n")
        };
        let good = agent(pem, "");
        assert!(read(good.as_bytes(), Hidden::Refuse).is_ok());
        let bad = agent(
            |root| match root {
                Root::EtcdPeer => NO_CERTIFICATE.to_owned(),
                other => pem(other),
            },
            "",
        );
        assert!(refused(&bad).starts_with("11:"), "{}", refused(&bad));
        let resolver = format!("[network.resolver]\nroots = [\"{NO_CERTIFICATE}\"]\n");
        let bad = agent(pem, &resolver);
        assert!(refused(&bad).starts_with("10:10:"), "{}", refused(&bad));
    }
}
