//! The node API, from outside: [`NodeClient`] for async programs, [`blocking::NodeClient`] for the others.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::Stream;
use spec_api::{
    ConfigChange, ConfigEntry, ConfigRequest, ConfigRollback, ConfigView, EtcdMember, LogEntry,
    LogQuery, NetworkView, NodeStatus, RunEvent, RunRequest, Unit,
};

pub use crate::http::Error;
use crate::http::Http;
use crate::tls::Server;
use crate::trust::Purpose;

/// How long starting or stopping a unit may take to be accepted.
const UNIT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long taking up a config may last.
const CONFIG_TIMEOUT: Duration = Duration::from_secs(100);

/// Which node, and as whom.
#[derive(Clone)]
pub struct Target {
    /// Where it is reached: its own address, or a port forwarded to it.
    pub address: SocketAddr,
    /// Its hostname: what its certificate must say.
    pub name: String,
    /// Its cluster.
    pub cluster_id: String,
    /// Roots `node-api`, PEM.
    pub roots: Vec<String>,
    /// The operator's certificate, PEM.
    pub certificate: String,
    /// The operator's key, PEM.
    pub key: String,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A client of one node's API.
#[derive(Debug, Clone)]
pub struct NodeClient {
    http: Http,
}

impl NodeClient {
    /// Makes a client; nothing is sent yet.
    pub fn new(target: &Target) -> Result<Self, Error> {
        let server = Server {
            roots: target.roots.clone(),
            cluster_id: target.cluster_id.clone(),
            purpose: Purpose::Node,
            name: target.name.clone(),
        };
        let http = Http::new(
            target.address,
            &server,
            Some((&target.certificate, &target.key)),
        )?;
        Ok(Self { http })
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<NodeStatus, Error> {
        self.http.get("/v1/status").await
    }

    /// `GET /v1/units`.
    pub async fn units(&self) -> Result<Vec<Unit>, Error> {
        self.http.get("/v1/units").await
    }

    /// `GET /v1/units/{name}`.
    pub async fn unit(&self, name: &str) -> Result<Unit, Error> {
        self.http.get(&format!("/v1/units/{}", encoded(name))).await
    }

    /// `POST /v1/units/{name}/start`.
    pub async fn start(&self, name: &str) -> Result<(), Error> {
        self.verb(name, "start").await
    }

    /// `POST /v1/units/{name}/stop`.
    pub async fn stop(&self, name: &str) -> Result<(), Error> {
        self.verb(name, "stop").await
    }

    /// `POST /v1/units/{name}/restart`.
    pub async fn restart(&self, name: &str) -> Result<(), Error> {
        self.verb(name, "restart").await
    }

    /// `POST /v1/units/{name}/kill`: a signal to every process of the unit.
    pub async fn kill(&self, name: &str, signal: i32) -> Result<(), Error> {
        self.verb(name, &format!("kill?signal={signal}")).await
    }

    async fn verb(&self, name: &str, verb: &str) -> Result<(), Error> {
        self.http
            .post_empty(&format!("/v1/units/{}/{verb}", encoded(name)), UNIT_TIMEOUT)
            .await
    }

    /// `POST /v1/run`: what is told of the program, to its end.
    pub async fn run(
        &self,
        request: &RunRequest,
    ) -> Result<impl Stream<Item = Result<RunEvent, Error>> + Send + use<>, Error> {
        self.http.stream_post("/v1/run", request).await
    }

    /// `POST /v1/units/{name}/collect`: how a program that was run before has ended, once it has.
    pub async fn collect(
        &self,
        name: &str,
    ) -> Result<impl Stream<Item = Result<RunEvent, Error>> + Send + use<>, Error> {
        let path = format!("/v1/units/{}/collect", encoded(name));
        self.http.stream_post(&path, &()).await
    }

    /// `GET /v1/logs`: what is there, then, when following, what comes.
    pub async fn logs(
        &self,
        query: &LogQuery,
    ) -> Result<impl Stream<Item = Result<LogEntry, Error>> + Send + use<>, Error> {
        self.http
            .stream(&format!("/v1/logs?{}", query_string(query)))
            .await
    }

    /// `GET /v1/config`.
    pub async fn config(&self) -> Result<ConfigView, Error> {
        self.http.get("/v1/config").await
    }

    /// `POST /v1/config`: another config is taken up, tried, kept for the next boot, or only compared.
    pub async fn apply_config(&self, request: &ConfigRequest) -> Result<ConfigChange, Error> {
        self.http
            .post_within("/v1/config", request, CONFIG_TIMEOUT)
            .await
    }

    /// `POST /v1/config/confirm`: the config on trial stays.
    pub async fn confirm_config(&self, number: u64) -> Result<ConfigChange, Error> {
        self.http
            .post(&format!("/v1/config/confirm?number={number}"), &())
            .await
    }

    /// `POST /v1/config/rollback`.
    pub async fn roll_back_config(&self, request: &ConfigRollback) -> Result<ConfigChange, Error> {
        self.http
            .post_within("/v1/config/rollback", request, CONFIG_TIMEOUT)
            .await
    }

    /// `GET /v1/config/history`.
    pub async fn config_history(&self) -> Result<Vec<ConfigEntry>, Error> {
        self.http.get("/v1/config/history").await
    }

    /// `GET /v1/network`.
    pub async fn network(&self) -> Result<NetworkView, Error> {
        self.http.get("/v1/network").await
    }

    /// `POST /v1/reboot`.
    pub async fn reboot(&self) -> Result<(), Error> {
        self.http
            .post_empty("/v1/reboot", crate::http::TIMEOUT)
            .await
    }

    /// `POST /v1/poweroff`.
    pub async fn poweroff(&self) -> Result<(), Error> {
        self.http
            .post_empty("/v1/poweroff", crate::http::TIMEOUT)
            .await
    }

    /// `GET /v1/etcd/members`.
    pub async fn etcd_members(&self) -> Result<Vec<EtcdMember>, Error> {
        self.http.get("/v1/etcd/members").await
    }

    /// `GET /metrics`, Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, Error> {
        self.http.get_text("/metrics").await
    }
}

/// Percent-encodes what is not unreserved in a URI (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn query_string(query: &LogQuery) -> String {
    let mut parts = Vec::new();
    for (key, value) in [
        ("unit", &query.unit),
        ("after", &query.after),
        ("boot", &query.boot),
    ] {
        if let Some(value) = value {
            parts.push(format!("{key}={}", encoded(value)));
        }
    }
    if let Some(lines) = query.lines {
        parts.push(format!("lines={lines}"));
    }
    if let Some(priority) = query.priority {
        parts.push(format!("priority={priority}"));
    }
    if query.follow {
        parts.push("follow=true".to_owned());
    }
    parts.join("&")
}

/// The same client for programs without an async runtime.
pub mod blocking {
    use futures_util::StreamExt;
    use spec_api::{
        ConfigChange, ConfigEntry, ConfigRequest, ConfigRollback, ConfigView, EtcdMember, LogEntry,
        LogQuery, NetworkView, NodeStatus, RunEvent, RunRequest, Unit,
    };

    use super::{Error, Target};

    /// A client of one node's API that blocks the calling thread.
    #[derive(Debug)]
    pub struct NodeClient {
        client: super::NodeClient,
        runtime: tokio::runtime::Runtime,
    }

    impl NodeClient {
        /// Makes a client; nothing is sent yet.
        pub fn new(target: &Target) -> Result<Self, Error> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::Runtime)?;
            // The client ties itself to the runtime it is made in.
            let client = runtime.block_on(async { super::NodeClient::new(target) })?;
            Ok(Self { client, runtime })
        }

        /// Runs a request to its end. Between two nobody looks at the connections that are kept: those that ended
        /// meanwhile are seen first, so that no request is sent on one.
        fn block_on<T>(&self, request: impl Future<Output = T>) -> T {
            self.runtime.block_on(async {
                // The runtime hears of what has come, and then those who wait for it do.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                request.await
            })
        }

        /// `GET /v1/status`.
        pub fn status(&self) -> Result<NodeStatus, Error> {
            self.block_on(self.client.status())
        }

        /// `GET /v1/units`.
        pub fn units(&self) -> Result<Vec<Unit>, Error> {
            self.block_on(self.client.units())
        }

        /// `GET /v1/units/{name}`.
        pub fn unit(&self, name: &str) -> Result<Unit, Error> {
            self.block_on(self.client.unit(name))
        }

        /// `POST /v1/units/{name}/start`.
        pub fn start(&self, name: &str) -> Result<(), Error> {
            self.block_on(self.client.start(name))
        }

        /// `POST /v1/units/{name}/stop`.
        pub fn stop(&self, name: &str) -> Result<(), Error> {
            self.block_on(self.client.stop(name))
        }

        /// `POST /v1/units/{name}/restart`.
        pub fn restart(&self, name: &str) -> Result<(), Error> {
            self.block_on(self.client.restart(name))
        }

        /// `POST /v1/units/{name}/kill`: a signal to every process of the unit.
        pub fn kill(&self, name: &str, signal: i32) -> Result<(), Error> {
            self.block_on(self.client.kill(name, signal))
        }

        /// `POST /v1/run`: calls `each` with what is told, until it says `false` or the stream ends.
        pub fn run(
            &self,
            request: &RunRequest,
            mut each: impl FnMut(RunEvent) -> bool,
        ) -> Result<(), Error> {
            self.block_on(async {
                let mut events = std::pin::pin!(self.client.run(request).await?);
                while let Some(event) = events.next().await {
                    if !each(event?) {
                        break;
                    }
                }
                Ok(())
            })
        }

        /// `POST /v1/units/{name}/collect`, likewise.
        pub fn collect(
            &self,
            name: &str,
            mut each: impl FnMut(RunEvent) -> bool,
        ) -> Result<(), Error> {
            self.block_on(async {
                let mut events = std::pin::pin!(self.client.collect(name).await?);
                while let Some(event) = events.next().await {
                    if !each(event?) {
                        break;
                    }
                }
                Ok(())
            })
        }

        /// `GET /v1/logs`: calls `each` per entry, until it says `false` or the stream ends.
        pub fn logs(
            &self,
            query: &LogQuery,
            mut each: impl FnMut(LogEntry) -> bool,
        ) -> Result<(), Error> {
            self.block_on(async {
                let mut entries = std::pin::pin!(self.client.logs(query).await?);
                while let Some(entry) = entries.next().await {
                    if !each(entry?) {
                        break;
                    }
                }
                Ok(())
            })
        }

        /// `GET /v1/config`.
        pub fn config(&self) -> Result<ConfigView, Error> {
            self.block_on(self.client.config())
        }

        /// `POST /v1/config`.
        pub fn apply_config(&self, request: &ConfigRequest) -> Result<ConfigChange, Error> {
            self.block_on(self.client.apply_config(request))
        }

        /// `POST /v1/config/confirm`.
        pub fn confirm_config(&self, number: u64) -> Result<ConfigChange, Error> {
            self.block_on(self.client.confirm_config(number))
        }

        /// `POST /v1/config/rollback`.
        pub fn roll_back_config(&self, request: &ConfigRollback) -> Result<ConfigChange, Error> {
            self.block_on(self.client.roll_back_config(request))
        }

        /// `GET /v1/config/history`.
        pub fn config_history(&self) -> Result<Vec<ConfigEntry>, Error> {
            self.block_on(self.client.config_history())
        }

        /// `GET /v1/network`.
        pub fn network(&self) -> Result<NetworkView, Error> {
            self.block_on(self.client.network())
        }

        /// `POST /v1/reboot`.
        pub fn reboot(&self) -> Result<(), Error> {
            self.block_on(self.client.reboot())
        }

        /// `POST /v1/poweroff`.
        pub fn poweroff(&self) -> Result<(), Error> {
            self.block_on(self.client.poweroff())
        }

        /// `GET /v1/etcd/members`.
        pub fn etcd_members(&self) -> Result<Vec<EtcdMember>, Error> {
            self.block_on(self.client.etcd_members())
        }

        /// `GET /metrics`, Prometheus' text format.
        pub fn metrics(&self) -> Result<String, Error> {
            self.block_on(self.client.metrics())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_cannot_leave_their_path_segment() {
        assert_eq!(encoded("etcd@dev-1.service"), "etcd%40dev-1.service");
        assert_eq!(encoded("../reboot?x"), "..%2Freboot%3Fx");
    }

    #[test]
    fn a_query_is_written_with_what_is_asked_only() {
        assert_eq!(query_string(&LogQuery::default()), "");
        let query = LogQuery {
            unit: Some("a b".into()),
            lines: Some(5),
            follow: true,
            ..LogQuery::default()
        };
        assert_eq!(query_string(&query), "unit=a%20b&lines=5&follow=true");
    }
}
