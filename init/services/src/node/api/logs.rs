//! Logs: the journal's answer to a query, passed on line by line as it comes.

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use spec_api::{LogEntry, LogQuery};
use spec_layout::path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::answer::Refusal;

/// Lines that are sent when the caller does not say how many.
const DEFAULT_LINES: u32 = 1000;
/// Bytes that are passed on at once.
const CHUNK: usize = 16 * 1024;

/// Log entries as newline-delimited JSON; with `follow` the answer does not end.
#[utoipa::path(get, path = "/v1/logs", params(
    ("unit" = Option<String>, Query, description = "Only entries of this unit; empty means the kernel"),
    ("lines" = Option<u32>, Query, description = "Only the last so many, 1000 unless `after` is given"),
    ("after" = Option<String>, Query, description = "Only entries after this cursor"),
    ("follow" = Option<bool>, Query, description = "Stay, and send what comes"),
    ("boot" = Option<String>, Query, description = "Only entries of this boot id"),
    ("priority" = Option<u8>, Query, description = "Only entries of this syslog priority or a more urgent one"),
), responses((status = 200, content_type = "application/x-ndjson", body = LogEntry)))]
pub(super) async fn logs(
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(mut query) =
        query.map_err(|rejection| Refusal::bad_request(rejection.body_text()))?;
    if query.after.is_none() {
        query.lines.get_or_insert(DEFAULT_LINES);
    }
    let stream = ask(&query).await.map_err(|error| {
        Refusal::unavailable(format!(
            "the journal does not answer: {error}; try again when bedplate-journal.service runs"
        ))
    })?;
    let chunks = futures_util::stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        let mut chunk = vec![0; CHUNK];
        match stream.read(&mut chunk).await {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some((Ok(Bytes::from(chunk)), Some(stream)))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok((
        [(CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(chunks),
    )
        .into_response())
}

async fn ask(query: &LogQuery) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path::JOURNAL_QUERY).await?;
    let mut line = serde_json::to_vec(query)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(stream)
}
