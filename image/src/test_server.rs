//! A mirror on this machine for tests: serves a map of paths, and misbehaves as told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The server; it ends when dropped.
pub(crate) struct TestServer {
    address: String,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    requests: Mutex<Vec<String>>,
    /// Answers that still break off half way.
    cut: AtomicUsize,
    /// Answers that are still a 503.
    busy: AtomicUsize,
    stop: AtomicBool,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.stop.load(Ordering::Relaxed) {
                    return;
                }
                let theirs = Arc::clone(&theirs);
                std::thread::spawn(move || drop(answer(stream, &theirs)));
            }
        });
        TestServer {
            address: format!("http://{address}"),
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.shared
            .files
            .lock()
            .expect("files")
            .insert(path.to_owned(), body.into());
    }

    pub(crate) fn remove(&self, path: &str) {
        self.shared.files.lock().expect("files").remove(path);
    }

    pub(crate) fn change(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(
            self.shared
                .files
                .lock()
                .expect("files")
                .get_mut(path)
                .unwrap_or_else(|| panic!("{path} is not served")),
        );
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.shared
            .files
            .lock()
            .expect("files")
            .keys()
            .cloned()
            .collect()
    }

    /// The next `count` answers break off half way.
    pub(crate) fn cut(&self, count: usize) {
        self.shared.cut.store(count, Ordering::Relaxed);
    }

    /// The next `count` answers are 503.
    pub(crate) fn busy(&self, count: usize) {
        self.shared.busy.store(count, Ordering::Relaxed);
    }

    /// Request lines so far, with the range asked for.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("requests").clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn take(counter: &AtomicUsize) -> bool {
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            count.checked_sub(1)
        })
        .is_ok()
}

fn answer(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut from = 0usize;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            from = range.trim().trim_end_matches('-').parse().unwrap_or(0);
        }
    }
    let path = first
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .trim_start_matches('/')
        .to_owned();
    shared.requests.lock().expect("requests").push(if from > 0 {
        format!("{path} from {from}")
    } else {
        path.clone()
    });
    let mut stream = stream;
    if take(&shared.busy) {
        return stream
            .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let file = shared.files.lock().expect("files").get(&path).cloned();
    let Some(body) = file else {
        return stream.write_all(
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    };
    let rest = &body[from.min(body.len())..];
    let status = match from {
        0 => "200 OK".to_owned(),
        _ => format!(
            "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
            body.len().saturating_sub(1),
            body.len()
        ),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.len()
    )?;
    let sent = if take(&shared.cut) {
        &rest[..rest.len() / 2]
    } else {
        rest
    };
    stream.write_all(sent)
}
