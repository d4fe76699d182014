//! `qcow2`: the disk as QEMU's copy-on-write image, version 3.
//!
//! Source: QEMU's `docs/interop/qcow2.txt`. Clusters stand in a fixed order (header, L1, L2 tables, refcounts,
//! data), so the same disk gives the same bytes.

use std::collections::BTreeMap;

use super::Image;
use crate::Error;
use crate::output::{Output, Written};
use crate::sparse::{CHUNK, Sparse};

/// Bytes of a cluster: those of a chunk, so that one becomes the other.
const CLUSTER: u64 = CHUNK as u64;
/// Guest clusters that one L2 table maps.
const L2_ENTRIES: u64 = CLUSTER / 8;
/// Host clusters that one refcount block counts, 16 bits each.
const REFCOUNTS: u64 = CLUSTER / 2;
/// Set in a table entry: the cluster has exactly one user.
const COPIED: u64 = 1 << 63;

/// Writes `NAME.qcow2`.
pub(super) fn write(image: &Image, output: &mut Output) -> Result<Written, Error> {
    let encoded = encode(image.disk()?).map_err(|error| {
        Error::Input(format!("the disk does not fit into a qcow2 image: {error}"))
    })?;
    output.write_sparse(&format!("{}.qcow2", image.name()), &encoded)
}

/// Where each part begins, in host clusters.
struct Plan {
    l1: u64,
    l2: u64,
    l2_tables: BTreeMap<u64, u64>,
    refcount_table: u64,
    refcount_blocks: u64,
    data: u64,
    total: u64,
}

/// Plans the file for a disk whose data stands in these guest clusters.
fn plan(guest_clusters: &[u64], l1_entries: u64) -> Plan {
    let l1 = 1;
    let l2 = l1 + (l1_entries * 8).div_ceil(CLUSTER);
    let mut l2_tables = BTreeMap::new();
    for guest in guest_clusters {
        let next = l2 + l2_tables.len() as u64;
        l2_tables.entry(guest / L2_ENTRIES).or_insert(next);
    }
    let refcount_table = l2 + l2_tables.len() as u64;
    let fixed = refcount_table + 1 + guest_clusters.len() as u64;
    let mut blocks = 1;
    while blocks * REFCOUNTS < fixed + blocks {
        blocks += 1;
    }
    let refcount_blocks = refcount_table + 1;
    Plan {
        l1,
        l2,
        l2_tables,
        refcount_table,
        refcount_blocks,
        data: refcount_blocks + blocks,
        total: fixed + blocks,
    }
}

/// The file.
fn encode(disk: &Sparse) -> std::io::Result<Sparse> {
    let guest_clusters: Vec<u64> = disk.data().map(|(offset, _)| offset / CLUSTER).collect();
    let l1_entries = disk.len().div_ceil(CLUSTER * L2_ENTRIES);
    let plan = plan(&guest_clusters, l1_entries);
    let mut out = Sparse::new(plan.total * CLUSTER);
    out.write_at(0, &header(disk.len(), l1_entries, &plan))?;

    for (index, table) in &plan.l2_tables {
        out.write_at(
            plan.l1 * CLUSTER + index * 8,
            &(table * CLUSTER + COPIED).to_be_bytes(),
        )?;
    }
    for (host, (offset, chunk)) in (plan.data..).zip(disk.data()) {
        let guest = offset / CLUSTER;
        let table = plan.l2_tables[&(guest / L2_ENTRIES)];
        out.write_at(
            table * CLUSTER + guest % L2_ENTRIES * 8,
            &(host * CLUSTER + COPIED).to_be_bytes(),
        )?;
        out.write_at(host * CLUSTER, chunk)?;
    }
    for block in 0..plan.data - plan.refcount_blocks {
        let at = plan.refcount_blocks + block;
        out.write_at(
            plan.refcount_table * CLUSTER + block * 8,
            &(at * CLUSTER).to_be_bytes(),
        )?;
    }
    let ones: Vec<u8> = (0..plan.total).flat_map(|_| 1u16.to_be_bytes()).collect();
    out.write_at(plan.refcount_blocks * CLUSTER, &ones)?;
    Ok(out)
}

/// The header of version 3, 104 bytes, and an empty list of extensions.
fn header(bytes: u64, l1_entries: u64, plan: &Plan) -> Vec<u8> {
    let mut header = b"QFI\xfb".to_vec();
    let mut put = |bytes: &[u8]| header.extend_from_slice(bytes);
    put(&3u32.to_be_bytes());
    put(&[0; 12]); // no backing file
    put(&CLUSTER.trailing_zeros().to_be_bytes());
    put(&bytes.to_be_bytes());
    put(&0u32.to_be_bytes()); // no encryption
    put(&(l1_entries as u32).to_be_bytes());
    put(&(plan.l1 * CLUSTER).to_be_bytes());
    put(&(plan.refcount_table * CLUSTER).to_be_bytes());
    put(&1u32.to_be_bytes()); // clusters of the refcount table
    put(&[0; 12]); // no snapshots
    put(&[0; 24]); // no feature bits
    put(&4u32.to_be_bytes()); // refcounts of 2^4 bits
    put(&104u32.to_be_bytes()); // header length
    put(&[0; 8]); // end of extensions
    debug_assert_eq!(
        plan.l2,
        plan.l2_tables.values().next().copied().unwrap_or(plan.l2)
    );
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn disk() -> Sparse {
        let mut disk = Sparse::new((3 << 30) + 512);
        for at in [0, 1 << 20, (1 << 30) + 77, (3 << 30) + 500] {
            disk.write_at(at, b"bedplate").unwrap();
        }
        disk
    }

    #[test]
    fn the_header_is_that_of_version_three() {
        let mut start = [0; 32];
        encode(&disk()).unwrap().read_at(0, &mut start).unwrap();
        assert_eq!(
            hex::encode(start),
            "514649fb0000000300000000000000000000000000000010 00000000c0000200".replace(' ', "")
        );
    }

    #[test]
    fn qemu_img_reads_the_disk_back_where_it_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let mut output = Output::open(folder.path(), &crate::Quiet).unwrap();
        output.write_sparse("disk.raw", &disk()).unwrap();
        output
            .write_sparse("disk.qcow2", &encode(&disk()).unwrap())
            .unwrap();
        output.publish().unwrap();
        let (raw, qcow2) = (
            folder.path().join("disk.raw"),
            folder.path().join("disk.qcow2"),
        );
        let Ok(check) = Command::new("qemu-img").arg("check").arg(&qcow2).output() else {
            qemu_tests::runner::skip("qemu-img is not installed");
            return;
        };
        assert!(
            check.status.success(),
            "{}",
            String::from_utf8_lossy(&check.stderr)
        );
        let compare = Command::new("qemu-img")
            .args(["compare", "-f", "raw", "-F", "qcow2"])
            .args([&raw, &qcow2])
            .output()
            .unwrap();
        assert!(
            compare.status.success(),
            "{}",
            String::from_utf8_lossy(&compare.stdout)
        );
    }
}
