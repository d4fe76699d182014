//! Bounded requests over mutual TLS: what every client of a Bedplate API, and of etcd's JSON gateway, is made on.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use spec_api::ApiError;

use crate::tls::{self, Server};

/// Most bytes of a reply that is read whole.
pub const MAX_BODY: usize = 8 << 20;
/// Most bytes of one line of a stream.
pub const MAX_LINE: usize = 1 << 20;
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take, unless asked otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection is kept for the next request: less than our servers keep it ([`crate::serve::Limits::head`]).
const KEPT: Duration = Duration::from_secs(10);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS configuration.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// Nobody answers there.
    #[error("{server} cannot be reached: {reason}")]
    Connect {
        /// Name and address.
        server: String,
        /// The innermost reason.
        reason: String,
    },
    /// No answer in time.
    #[error("{server} did not answer in time")]
    Timeout {
        /// Name and address.
        server: String,
    },
    /// The server refused.
    #[error("{server} says ({status}): {message}")]
    Refused {
        /// Name and address.
        server: String,
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The answer is not what the API promises.
    #[error("{server} answered with what cannot be read: {reason}")]
    Answer {
        /// Name and address.
        server: String,
        /// Why.
        reason: String,
    },
    /// The blocking client has no runtime.
    #[error("cannot start a runtime: {0}")]
    Runtime(std::io::Error),
}

impl Error {
    /// The HTTP status, where the server gave one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    /// Makes a connection for each request.
    anew: reqwest::Client,
    base: String,
    server: String,
}

impl Http {
    /// A client of the server at `address`, with a certificate of its own unless `own` is `None`.
    pub fn new(
        address: SocketAddr,
        server: &Server,
        own: Option<(&str, &str)>,
    ) -> Result<Self, Error> {
        let config = tls::client_config(own, server)?;
        let label = format!("{} ({address})", server.name);
        let build = |keep: usize| {
            reqwest::Client::builder()
                .use_preconfigured_tls(config.clone())
                .https_only(true)
                .http1_only()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(KEPT)
                .pool_max_idle_per_host(keep)
                .build()
                .map_err(|error| Error::Connect {
                    server: label.clone(),
                    reason: innermost(&error),
                })
        };
        Ok(Self {
            client: build(usize::MAX)?,
            anew: build(0)?,
            base: format!("https://{address}"),
            server: label,
        })
    }

    /// The server's name and address, for messages.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// GET, the answer as JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let body = self
            .body(
                self.send(Method::GET, path, None::<&()>, Some(TIMEOUT))
                    .await?,
            )
            .await?;
        self.json(&body)
    }

    /// GET, the answer as text.
    pub async fn get_text(&self, path: &str) -> Result<String, Error> {
        let body = self
            .body(
                self.send(Method::GET, path, None::<&()>, Some(TIMEOUT))
                    .await?,
            )
            .await?;
        String::from_utf8(body).map_err(|_| self.unreadable("not UTF-8"))
    }

    /// POST of JSON, the answer as JSON.
    pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Error> {
        self.post_within(path, body, TIMEOUT).await
    }

    /// POST of JSON, with a deadline.
    pub async fn post_within<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        deadline: Duration,
    ) -> Result<T, Error> {
        let body = self
            .body(
                self.send(Method::POST, path, Some(body), Some(deadline))
                    .await?,
            )
            .await?;
        self.json(&body)
    }

    /// POST without content either way.
    pub async fn post_empty(&self, path: &str, deadline: Duration) -> Result<(), Error> {
        self.body(
            self.send(Method::POST, path, None::<&()>, Some(deadline))
                .await?,
        )
        .await
        .map(drop)
    }

    /// GET of newline-delimited JSON, without a deadline.
    pub async fn stream<T>(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<T, Error>> + Send + use<T>, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let response = self.send(Method::GET, path, None::<&()>, None).await?;
        Ok(self.lines(response))
    }

    /// POST of JSON, the answer as newline-delimited JSON, without a deadline.
    pub async fn stream_post<B: Serialize + ?Sized, T>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<impl Stream<Item = Result<T, Error>> + Send + use<B, T>, Error>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let response = self.send(Method::POST, path, Some(body), None).await?;
        Ok(self.lines(response))
    }

    fn lines<T>(&self, response: Response) -> impl Stream<Item = Result<T, Error>> + Send + use<T>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let http = self.clone();
        let lines = Lines {
            bytes: response.bytes_stream().boxed(),
            buffer: Vec::new(),
            ended: false,
        };
        futures_util::stream::unfold((lines, http), |(mut lines, http)| async move {
            match lines.next().await {
                Ok(Some(line)) => Some((http.json(&line), (lines, http))),
                Ok(None) => None,
                Err(reason) => {
                    lines.ended = true;
                    Some((Err(http.unreadable(&reason)), (lines, http)))
                }
            }
        })
    }

    /// Sends a request, and one that only asks a second time where the connection broke off before the answer: a server
    /// may end one that was kept at the moment in which it is used again. What changes something is not repeated, since
    /// nobody knows whether it was heard; if it was not sent at all, the client below takes another connection by itself.
    async fn send<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        deadline: Option<Duration>,
    ) -> Result<Response, Error> {
        let request = |client: &reqwest::Client| {
            let mut request = client.request(method.clone(), format!("{}{path}", self.base));
            if let Some(deadline) = deadline {
                request = request.timeout(deadline);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            request.send()
        };
        let mut sent = request(&self.client).await;
        if method == Method::GET && sent.as_ref().is_err_and(broke_off) {
            sent = request(&self.anew).await;
        }
        let response = sent.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(response).await.unwrap_or_default();
        Err(self.refused(status, &body))
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.failed(&error))?;
            if body.len() + chunk.len() > MAX_BODY {
                return Err(self.unreadable(&format!("more than {MAX_BODY} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn json<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| self.unreadable(&error.to_string()))
    }

    fn failed(&self, error: &reqwest::Error) -> Error {
        let server = self.server.clone();
        if error.is_timeout() {
            Error::Timeout { server }
        } else {
            Error::Connect {
                server,
                reason: innermost(error),
            }
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        let message = match serde_json::from_slice::<ApiError>(body) {
            Ok(error) => error.error,
            Err(_) => String::from_utf8_lossy(body).chars().take(500).collect(),
        };
        Error::Refused {
            server: self.server.clone(),
            status: status.as_u16(),
            message,
        }
    }

    fn unreadable(&self, reason: &str) -> Error {
        Error::Answer {
            server: self.server.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// Whether a connection stood and ended before the answer.
fn broke_off(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_timeout() && !error.is_connect()
}

/// The last cause in the chain: "connection refused" and not "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Splits a body into lines of at most [`MAX_LINE`] bytes.
struct Lines<Chunk> {
    bytes: futures_util::stream::BoxStream<'static, Result<Chunk, reqwest::Error>>,
    buffer: Vec<u8>,
    ended: bool,
}

impl<Chunk: AsRef<[u8]>> Lines<Chunk> {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(format!("a line of more than {MAX_LINE} bytes"));
            }
            if self.ended {
                return Ok(None);
            }
            match self.bytes.next().await {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(chunk.as_ref()),
                Some(Err(error)) => return Err(innermost(&error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err("the stream ended inside a line".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
