//! The cluster's folder: identity, trust and machine configs on disk.

use super::{ClusterSpec, ConfigWay, FIRST_NODE, GATEWAY, PREFIX};
use crate::{
    disk,
    error::{Error, Result},
    images::Image,
};
use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use client::{
    ca::{Authority, Credentials, Roots},
    key_file,
    node::Target,
    trust::{Holder, Identity as Certified, Purpose, Root},
};
use serde::{Deserialize, Serialize};
use spec_config::{
    Address, Cluster, Config, Destination, Issuer, Issuers, Link, LinkMatch, Master, Network, Role,
    Route, Secret, Trust,
};
use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Version of `cluster.json`.
const SCHEMA: u32 = 1;

/// `cluster.json`: who is in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    schema: u32,
    /// Its name.
    pub name: String,
    /// 32 random hex digits, in every certificate.
    pub cluster_id: String,
    /// The image its disks were made of, `ID_VERSION`.
    pub image: String,
    /// Its nodes, masters first.
    pub nodes: Vec<NodeIdentity>,
}

/// One node in `cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeIdentity {
    /// Its hostname.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its card's hardware address.
    pub mac: String,
    /// SMBIOS UUID.
    pub uuid: String,
    /// Is a master.
    pub master: bool,
}

/// The folder of a node.
pub(super) fn node(cluster: &Path, name: &str) -> PathBuf {
    cluster.join("nodes").join(name)
}

/// A node's file with the root hash of the build that its disk was made of.
const ROOT_HASH: &str = "root-hash";

/// The disk of a node: the one that is there, or a copy of the image's. The root hash is written first, so that it is
/// never that of another build than the disk's, wherever this is interrupted.
pub(super) fn disk(node: &Path, image: &Image, bytes: u64) -> Result<PathBuf> {
    let path = node.join("disk.raw");
    if !path.exists() {
        let hash = format!("{}\n", image.root_hash()?);
        write_secret(&node.join(ROOT_HASH), hash.as_bytes())?;
        disk::copy(&image.required("raw")?, &path, bytes)?;
    }
    Ok(path)
}

/// Root hash of the build that a node's disk was made of.
pub(super) fn root_hash(node: &Path) -> Option<String> {
    let text = fs::read_to_string(node.join(ROOT_HASH)).ok()?;
    Some(text.trim().to_owned())
}

/// One process at a time works with a cluster, or removes it: who holds the file.
pub fn lock(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) if stands_at(&file, &path) => Ok(file),
        Ok(()) => Err(Error::Refused(format!(
            "cluster {name} was removed just now; try again"
        ))),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Refused(format!(
            "cluster {name} runs already ({} is locked); stop it with `bedplate down --name {name}`",
            path.display()
        ))),
        Err(error) => Err(Error::io("lock", &path)(error.into())),
    }
}

/// Whether the file is still the one of that name: a lock on one that was removed keeps nobody out.
fn stands_at(file: &File, path: &Path) -> bool {
    let inode = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let there = fs::metadata(path).map(inode).ok();
    there.is_some() && file.metadata().map(inode).ok() == there
}

/// Reads who is in the cluster, or decides it, with trust and configs.
pub(super) fn open_or_create(spec: &ClusterSpec) -> Result<Identity> {
    let path = spec.folder.join("cluster.json");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return create(spec, &path),
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let wipe = format!("remove it with `bedplate down --wipe --name {}`", spec.name);
    let identity: Identity = serde_json::from_str(&text)
        .map_err(|error| Error::Failed(format!("{}: {error}; {wipe}", path.display())))?;
    if identity.schema != SCHEMA {
        let found = identity.schema;
        return Err(Error::Failed(format!(
            "{}: schema {found}, not {SCHEMA}; {wipe}",
            path.display()
        )));
    }
    let masters = identity.nodes.iter().filter(|node| node.master).count();
    let agents = identity.nodes.len() - masters;
    if (masters, agents) != (spec.masters as usize, spec.agents as usize)
        || identity.name != spec.name
    {
        return Err(Error::Refused(format!(
            "{} is cluster {} with {masters} masters and {agents} agents; use that size, or {wipe}",
            spec.folder.display(),
            identity.name
        )));
    }
    Ok(identity)
}

fn create(spec: &ClusterSpec, path: &Path) -> Result<Identity> {
    for rest in ["trust", "nodes"] {
        let rest = spec.folder.join(rest);
        if rest.exists() {
            fs::remove_dir_all(&rest).map_err(Error::io("remove", &rest))?;
        }
        secret_folder(&rest)?;
    }
    let identity = decide(spec)?;
    let roots = Roots::new(&identity.cluster_id).map_err(trust_failed)?;
    write_trust(&spec.folder.join("trust"), &roots)?;
    let join_token = random_hex(32)?;
    for member in &identity.nodes {
        let folder = node(&spec.folder, &member.name);
        secret_folder(&folder)?;
        let text = machine_config(&identity, member, &roots, &join_token)?;
        write_secret(&folder.join("config.toml"), text.as_bytes())?;
        if spec.config == ConfigWay::Smbios {
            let value = BASE64.encode(text.as_bytes());
            let value = format!("io.systemd.credential.binary:bedplate.config={value}");
            write_secret(&folder.join("config.smbios"), value.as_bytes())?;
        }
    }
    let text = serde_json::to_string_pretty(&identity)
        .map_err(|error| Error::Failed(error.to_string()))?;
    write_secret(path, text.as_bytes())?;
    Ok(identity)
}

fn decide(spec: &ClusterSpec) -> Result<Identity> {
    let mut nodes = Vec::new();
    for index in 0..spec.masters + spec.agents {
        let last = FIRST_NODE + index as u8;
        let uuid = random_hex(16)?;
        let uuid = [
            &uuid[..8],
            &uuid[8..12],
            &uuid[12..16],
            &uuid[16..20],
            &uuid[20..],
        ]
        .join("-");
        nodes.push(NodeIdentity {
            name: format!("{}-{}", spec.name, index + 1),
            address: Ipv4Addr::new(10, 77, 0, last),
            mac: format!("52:54:00:77:00:{last:02x}"),
            uuid,
            master: index < spec.masters,
        });
    }
    Ok(Identity {
        schema: SCHEMA,
        name: spec.name.clone(),
        cluster_id: random_hex(16)?,
        image: spec.image.stem.clone(),
        nodes,
    })
}

/// `trust/ROOT.{crt,key}` for each root, `trust/admin.{crt,key}` for the operator.
fn write_trust(folder: &Path, roots: &Roots) -> Result<()> {
    for root in Root::ALL {
        let authority = roots.get(root).map_err(trust_failed)?;
        write_secret(
            &folder.join(format!("{root}.crt")),
            authority.certificate_pem().as_bytes(),
        )?;
        write_secret(
            &folder.join(format!("{root}.key")),
            authority.key_pem().as_bytes(),
        )?;
    }
    let admin = roots.admin("admin").map_err(trust_failed)?;
    write_secret(&folder.join("admin.crt"), admin.certificate.as_bytes())?;
    write_secret(&folder.join("admin.key"), admin.key.as_bytes())
}

/// What a client of a node's API needs, from the cluster's folder.
pub fn target(cluster: &Path, node: &str, address: SocketAddr) -> Result<Target> {
    let identity: Identity =
        serde_json::from_str(&read(&cluster.join("cluster.json"))?).map_err(|error| {
            Error::Failed(format!(
                "{}: {error}",
                cluster.join("cluster.json").display()
            ))
        })?;
    let trust = cluster.join("trust");
    Ok(Target {
        address,
        name: node.to_owned(),
        cluster_id: identity.cluster_id,
        roots: vec![read(&trust.join("node-api.crt"))?],
        certificate: read(&trust.join("admin.crt"))?,
        key: read(&trust.join("admin.key"))?,
    })
}

/// A certificate of this cluster for a test, signed by one of its roots; only who has the folder can.
pub fn certificate(
    cluster: &Path,
    cluster_id: &str,
    purpose: Purpose,
    name: &str,
) -> Result<Credentials> {
    let (trust, root) = (cluster.join("trust"), purpose.root());
    let certificate = read(&trust.join(format!("{root}.crt")))?;
    let key = read(&trust.join(format!("{root}.key")))?;
    let authority = Authority::from_pem(root, &certificate, &key).map_err(trust_failed)?;
    let holder = Holder::new(cluster_id, purpose, name);
    authority
        .issue(&Certified {
            holder,
            addresses: Vec::new(),
        })
        .map_err(trust_failed)
}

fn machine_config(
    identity: &Identity,
    member: &NodeIdentity,
    roots: &Roots,
    join_token: &str,
) -> Result<String> {
    let masters = identity.nodes.iter().filter(|node| node.master);
    let masters: Result<Vec<Master>> = masters
        .map(|master| {
            Ok(Master {
                name: parsed(&master.name)?,
                address: master.address.into(),
            })
        })
        .collect();
    let root = |root: Root| -> Result<spec_config::TrustStore> {
        let authority = roots.get(root).map_err(trust_failed)?;
        Ok(vec![parsed(authority.certificate_pem())?].into())
    };
    let config = Config {
        schema: spec_config::Schema,
        cluster: Cluster {
            id: parsed(&identity.cluster_id)?,
            name: parsed(&identity.name)?,
            masters: masters?,
            join_token: Secret::new(join_token),
        },
        node: spec_config::Node {
            hostname: parsed(&member.name)?,
            roles: if member.master {
                vec![Role::Master, Role::Agent]
            } else {
                vec![Role::Agent]
            },
        },
        network: network(member)?,
        time: spec_config::Time::default(),
        trust: Trust {
            node_api: root(Root::NodeApi)?,
            etcd_peer: root(Root::EtcdPeer)?,
            etcd_client: root(Root::EtcdClient)?,
            cluster: root(Root::Cluster)?,
            issuers: if member.master {
                Some(issuers(roots, &member.name)?)
            } else {
                None
            },
        },
    };
    config
        .to_toml()
        .map_err(|error| Error::Failed(format!("the machine config of {}: {error}", member.name)))
}

fn network(member: &NodeIdentity) -> Result<Network> {
    Ok(Network {
        nameservers: Vec::new(),
        resolver: spec_config::Resolver::default(),
        links: vec![Link {
            matches: LinkMatch {
                mac: Some(parsed(&member.mac)?),
                ..LinkMatch::default()
            },
            addresses: vec![Address {
                ip: member.address.into(),
                prefix: PREFIX,
            }],
            dhcp4: false,
            mtu: Some(1500),
            routes: vec![Route {
                to: Destination::Default,
                via: Some(GATEWAY.into()),
                metric: None,
            }],
            ..Link::default()
        }],
    })
}

fn issuers(roots: &Roots, master: &str) -> Result<Issuers> {
    let issuer = |root: Root| -> Result<Issuer> {
        let authority = roots.intermediate(root, master).map_err(trust_failed)?;
        Ok(Issuer {
            certificate: parsed(authority.certificate_pem())?,
            key: Secret::new(authority.key_pem()),
        })
    };
    Ok(Issuers {
        node_api: issuer(Root::NodeApi)?,
        etcd_peer: issuer(Root::EtcdPeer)?,
        etcd_client: issuer(Root::EtcdClient)?,
        cluster: issuer(Root::Cluster)?,
    })
}

fn parsed<T: std::str::FromStr<Err = spec_config::InvalidValue>>(text: &str) -> Result<T> {
    text.parse()
        .map_err(|error: spec_config::InvalidValue| Error::Refused(error.to_string()))
}

fn trust_failed(error: client::ca::Error) -> Error {
    Error::Failed(format!("the cluster's trust: {error}"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    key_file::write(path, content, key_file::SECRET).map_err(Error::io("write", path))
}

fn secret_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
        .map_err(Error::io("make", path))
}

fn random_hex(bytes: usize) -> Result<String> {
    let path = Path::new("/dev/urandom");
    let mut random = vec![0; bytes];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut random))
        .map_err(Error::io("read", path))?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn spec(folder: &Path) -> ClusterSpec {
        let image = Image {
            folder: folder.join("out"),
            stem: "node-cloud_1".into(),
        };
        let mut spec = ClusterSpec::new("dev", &folder.join("dev"), image);
        spec.agents = 1;
        fs::create_dir_all(&spec.folder).unwrap();
        spec
    }

    #[test]
    fn every_node_gets_a_config_that_holds_and_secrets_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path());
        let identity = open_or_create(&spec).unwrap();
        assert_eq!(identity.nodes.len(), 4);
        for member in &identity.nodes {
            let path = node(&spec.folder, &member.name).join("config.toml");
            let config = Config::parse(&fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(config.node.hostname.to_string(), member.name);
            assert_eq!(config.cluster.masters.len(), 3);
            assert_eq!(config.trust.issuers.is_some(), member.master);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        for file in fs::read_dir(spec.folder.join("trust")).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }

    #[test]
    fn an_existing_folder_is_taken_up_and_another_size_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path());
        let first = open_or_create(&spec).unwrap();
        assert_eq!(open_or_create(&spec).unwrap(), first);
        spec.masters = 1;
        let error = open_or_create(&spec).unwrap_err().to_string();
        assert!(
            error.contains("3 masters and 1 agents") && error.contains("down --wipe"),
            "{error}"
        );
    }

    #[test]
    fn an_interrupted_creation_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let spec = spec(folder.path());
        fs::create_dir_all(spec.folder.join("nodes/dev-9")).unwrap();
        open_or_create(&spec).unwrap();
        assert!(!spec.folder.join("nodes/dev-9").exists());
    }

    #[test]
    fn the_root_hash_of_a_node_is_that_of_its_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (out, node) = (folder.path().join("out"), folder.path().join("node"));
        fs::create_dir_all(&out).unwrap();
        fs::create_dir_all(&node).unwrap();
        let build = |hash: &str| {
            let manifest = format!(r#"{{"id": "a", "version": "1", "root_hash": "{hash}"}}"#);
            fs::write(out.join("manifest.json"), manifest).unwrap();
            fs::write(out.join("a_1.raw"), hash).unwrap();
            Image::find(&out).unwrap().unwrap()
        };
        let make = |image: &Image| disk(&node, image, 0);
        let found = || (root_hash(&node), fs::read_to_string(node.join("disk.raw")));
        let is = |hash: &str| matches!(found(), (Some(told), Ok(there)) if told == hash && there == hash);

        let image = build("aa");
        fs::remove_file(out.join("a_1.raw")).unwrap();
        make(&image).unwrap_err();
        make(&build("bb")).unwrap();
        assert!(is("bb"), "after an interruption: {:?}", found());
        make(&build("cc")).unwrap();
        assert!(is("bb"), "an old disk stays: {:?}", found());
        fs::remove_file(node.join("disk.raw")).unwrap();
        make(&build("cc")).unwrap();
        assert!(is("cc"), "a new disk: {:?}", found());
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path(), "dev").unwrap();
        let error = lock(folder.path(), "dev").unwrap_err().to_string();
        assert!(error.contains("runs already"), "{error}");
        drop(held);
        lock(folder.path(), "dev").unwrap();
    }

    #[test]
    fn a_removed_lock_keeps_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path(), "dev").unwrap();
        let path = folder.path().join("lock");
        assert!(stands_at(&held, &path));
        fs::remove_file(&path).unwrap();
        assert!(!stands_at(&held, &path));
        lock(folder.path(), "dev").unwrap();
        assert!(!stands_at(&held, &path));
    }
}
