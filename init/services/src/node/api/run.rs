//! Programs run as transient units: output as it comes, and how they end.
//!
//! What such a program may do is PID 1's to decide, which knows this service as a user without privilege: it runs as a
//! user made up for the run, without a capability or a way to one, and the plan that is made of the request may ask for
//! walls and limits only (`ExecPlan::check_confined`). So an operator's certificate, or this service in wrong hands, runs
//! nothing as root.
//!
//! An operator who goes away loses nothing: the unit runs on, and [`collect`] waits for it and tells how it has ended.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::control::{Control, Error};
use spec_api::{OutputStream, RunEnd, RunEvent, RunOutput, RunRequest, RunStarted};
use spec_unit::control::{ExitStatus, UnitStatus};
use spec_unit::plan::{ExecPlan, FdSlot, Output};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::answer::Refusal;
use super::units::{checked, connect};
use super::{Caller, Node};
use crate::transient::plan::{ThisNode, made_up_name, plan};

/// Most operators who wait for a program at a time: each takes a connection to PID 1.
pub(super) const MAX_WAITING: usize = 8;
/// Bytes that are passed on at once.
const CHUNK: usize = 16 * 1024;
/// Events that wait for an operator who reads slowly; the program waits then.
const EVENTS: usize = 16;
/// How long the rest of the output is waited for once all of the unit is gone.
const REST: Duration = Duration::from_secs(2);

/// Runs a program once, as a user of its own without privileges. One that is not detached has no input.
#[utoipa::path(post, path = "/v1/run", request_body = RunRequest,
    responses((status = 200, content_type = "application/x-ndjson", body = RunEvent)))]
pub(super) async fn run(
    State(node): State<Node>,
    Extension(caller): Extension<Caller>,
    request: Result<Json<RunRequest>, JsonRejection>,
) -> Result<Response, Refusal> {
    let Json(request) = request?;
    let name = checked(request.unit.clone().unwrap_or_else(made_up_name))?;
    let plan = plan(
        &name,
        &request.properties,
        &request.command,
        &ThisNode::open(),
    )
    .map_err(Refusal::bad_request)?;
    log::info!("{} runs {:?} as {name}", caller.name, request.command);
    let (tell, told) = mpsc::channel(EVENTS);
    if request.detach {
        connect()?.run(&name, plan, &[]).await?;
        let started = RunEvent::Started(RunStarted { unit: name });
        let _ = tell.try_send(started);
        return Ok(stream(told));
    }
    let slot = slot(&node)?;
    let attached = Attached::start(name, plan).await?;
    tokio::spawn(attached.follow(tell, slot));
    Ok(stream(told))
}

/// Waits for the end of a program that was run before, tells how it has ended, and forgets it.
#[utoipa::path(post, path = "/v1/units/{name}/collect",
    params(("name" = String, Path, description = "Unit name")),
    responses((status = 200, content_type = "application/x-ndjson", body = RunEvent)))]
pub(super) async fn collect(
    State(node): State<Node>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let name = checked(name)?;
    let slot = slot(&node)?;
    let mut control = connect()?;
    if let Err(Error::Refused(reason)) = control.show(&name).await {
        return Err(Refusal::not_found(reason));
    }
    let (tell, told) = mpsc::channel(EVENTS);
    tokio::spawn(async move {
        let _slot = slot;
        tokio::select! {
            () = tell.closed() => {}
            status = control.wait(&name) => end(&mut control, &name, status, &tell).await,
        }
    });
    Ok(stream(told))
}

fn slot(node: &Node) -> Result<OwnedSemaphorePermit, Refusal> {
    let slot = Arc::clone(&node.waiting).try_acquire_owned();
    slot.map_err(|_| {
        Refusal::unavailable(format!(
            "{MAX_WAITING} operators wait for programs already; detach this one, or try later"
        ))
    })
}

fn stream(told: mpsc::Receiver<RunEvent>) -> Response {
    let lines = futures_util::stream::unfold(told, |mut told| async move {
        let event = told.recv().await?;
        let mut line = serde_json::to_vec(&event).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), told))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

/// A program whose output comes here.
struct Attached {
    name: String,
    control: Control,
    output: pipe::Receiver,
    error: pipe::Receiver,
}

impl Attached {
    async fn start(name: String, mut plan: ExecPlan) -> Result<Self, Refusal> {
        let pipe = || -> std::io::Result<(pipe::Receiver, OwnedFd)> {
            let (read, write) = std::io::pipe()?;
            Ok((pipe::Receiver::from_owned_fd(read.into())?, write.into()))
        };
        let failed = |error| Refusal::unavailable(format!("no pipe: {error}"));
        let (output, to_output) = pipe().map_err(failed)?;
        let (error, to_error) = pipe().map_err(failed)?;
        plan.stdio.output = Output::Fd(FdSlot(0));
        plan.stdio.error = Output::Fd(FdSlot(1));
        let mut control = connect()?;
        let fds = [to_output.as_fd(), to_error.as_fd()];
        control.run(&name, plan, &fds).await?;
        Ok(Self {
            name,
            control,
            output,
            error,
        })
    }

    /// Tells what comes, until the program has ended or nobody listens any more.
    async fn follow(self, tell: mpsc::Sender<RunEvent>, _slot: OwnedSemaphorePermit) {
        let Self {
            name,
            mut control,
            output,
            error,
        } = self;
        let unit = name.clone();
        let started = RunEvent::Started(RunStarted { unit });
        if tell.send(started).await.is_err() {
            return;
        }
        let copied = async {
            tokio::join!(
                copy(output, OutputStream::Output, &tell),
                copy(error, OutputStream::Error, &tell)
            )
        };
        // Output is taken all the while: a program that cannot write does not end. Who else holds the pipes may be gone
        // a moment later than the unit.
        let (over, rest) = tokio::sync::oneshot::channel();
        let waited = async {
            let status = control.wait(&name).await;
            let _ = over.send(());
            status
        };
        let copied = async {
            let mut copied = std::pin::pin!(copied);
            tokio::select! {
                _ = &mut copied => {}
                _ = rest => drop(tokio::time::timeout(REST, copied).await),
            }
        };
        let ended = async { tokio::join!(waited, copied).0 };
        tokio::select! {
            () = tell.closed() => {}
            status = ended => end(&mut control, &name, status, &tell).await,
        }
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    stream: OutputStream,
    tell: &mpsc::Sender<RunEvent>,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let data = STANDARD.encode(chunk.get(..length).unwrap_or_default());
        let output = RunEvent::Output(RunOutput { stream, data });
        if tell.send(output).await.is_err() {
            return;
        }
    }
}

/// Forgets a unit that has ended, and tells how it has.
async fn end(
    control: &mut Control,
    name: &str,
    status: Result<UnitStatus, Error>,
    tell: &mpsc::Sender<RunEvent>,
) {
    let event = match status {
        Err(error) => RunEvent::Failed(error.to_string()),
        Ok(status) => match (control.collect(name).await, status.exit) {
            (Err(error), Some(_)) => RunEvent::Failed(error.to_string()),
            // One that never ran is forgotten too.
            _ => RunEvent::Ended(how(status)),
        },
    };
    let _ = tell.send(event).await;
}

fn how(status: UnitStatus) -> RunEnd {
    let (code, signal) = match status.exit {
        Some(ExitStatus::Exited(code)) => (Some(code), None),
        Some(ExitStatus::Signaled(signal) | ExitStatus::Dumped(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    RunEnd {
        unit: status.name,
        result: status.result,
        code,
        signal,
        reason: status.reason,
    }
}
