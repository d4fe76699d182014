//! `bedplate net`: the network of a node.

use serde::Serialize;
use spec_api::{LinkView, NetworkView};

use crate::exit::{Context, Error};
use crate::node::{Running, Which};
use crate::output::{Cell, Output, Style};

/// Show the links of one node, or of all: addresses, routes, leases, and what lacks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node; all if not given.
    node: Option<String>,
    /// Show links that the machine config does not speak of too.
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct NodeNetwork {
    node: String,
    network: NetworkView,
}

/// Asks the nodes.
pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Error> {
    let running = Running::find(&args.which)?;
    let nodes = match &args.node {
        Some(name) => vec![running.node(name)?],
        None => running.nodes().iter().collect(),
    };
    let mut report = Vec::new();
    for node in nodes {
        let mut network = running
            .client(node)?
            .network()
            .context(format!("{} does not tell its network", node.name))?;
        network.links.retain(|link| args.all || link.managed);
        report.push(NodeNetwork {
            node: node.name.clone(),
            network,
        });
    }
    if output.is_json() {
        return output.json(&report);
    }
    let rows: Vec<Vec<Cell>> = report
        .iter()
        .flat_map(|node| node.network.links.iter().map(|link| row(&node.node, link)))
        .collect();
    output.table(
        &[
            "NODE",
            "LINK",
            "KIND",
            "STATE",
            "MTU",
            "MAC",
            "OF",
            "ADDRESSES",
            "ROUTES",
            "LEASE",
        ],
        &rows,
    );
    for node in &report {
        for lack in &node.network.missing {
            output.warn(&format!("{}: {lack}", node.node));
        }
    }
    Ok(())
}

fn row(node: &str, link: &LinkView) -> Vec<Cell> {
    let (state, style) = match (link.up, link.carrier) {
        (true, true) => ("up", Style::Good),
        (true, false) => ("no carrier", Style::Bad),
        (false, _) => ("down", Style::Warn),
    };
    let kind = link.kind.as_ref().or(link.driver.as_ref());
    let of = match (&link.master, &link.parent) {
        (Some(master), _) => master.clone(),
        (None, Some(parent)) => parent.clone(),
        (None, None) => link.members.join(","),
    };
    let addresses = link.addresses.iter().map(|address| {
        let note = match (address.duplicate, address.tentative) {
            (true, _) => " (duplicate)",
            (_, true) => " (tentative)",
            _ => "",
        };
        format!("{}{note}", address.address)
    });
    let routes = link.routes.iter().map(|route| match &route.via {
        Some(via) => format!("{} via {via}", route.to),
        None => route.to.clone(),
    });
    let lease = link.lease.as_ref();
    vec![
        Cell::plain(node),
        Cell::plain(&link.name),
        Cell::plain(kind.cloned().unwrap_or_default()),
        Cell::styled(state, style),
        Cell::plain(link.mtu.to_string()),
        Cell::plain(link.mac.clone().unwrap_or_default()),
        Cell::plain(of),
        Cell::plain(addresses.collect::<Vec<_>>().join(" ")),
        Cell::plain(routes.collect::<Vec<_>>().join(" ")),
        Cell::plain(lease.map_or(String::new(), |lease| format!("from {}", lease.server))),
    ]
}
