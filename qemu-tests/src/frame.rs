//! Ethernet frames over a stream: the framing of QEMU's `-netdev stream` (net/stream.c): each frame
//! behind its length, four bytes, big endian.
//!
//! Both directions are bounded: a peer that sends an impossible length is cut off, one that does not
//! read loses frames, as on a real wire.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
};

/// Bytes of the length before each frame.
pub const HEADER: usize = 4;
/// Longest frame: QEMU's NET_BUFSIZE, 64 KiB of segmentation offload and its headers.
pub const MAX_FRAME: usize = 69 * 1024;
/// Bytes that wait for one slow reader before frames are dropped.
const MAX_QUEUE: usize = 4 << 20;
/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// A frame with its length before it, shared by all ports it goes to.
#[derive(Debug, Clone)]
pub struct Frame(Arc<[u8]>);

impl Frame {
    /// Puts the length before `data`. `None` if it is too long for a frame.
    pub fn new(data: &[u8]) -> Option<Frame> {
        let length = u32::try_from(data.len())
            .ok()
            .filter(|_| data.len() <= MAX_FRAME)?;
        let mut whole = Vec::with_capacity(HEADER + data.len());
        whole.extend_from_slice(&length.to_be_bytes());
        whole.extend_from_slice(data);
        Some(Frame(whole.into()))
    }

    /// The frame without its length.
    pub fn data(&self) -> &[u8] {
        &self.0[HEADER..]
    }

    /// Where it goes.
    pub fn destination(&self) -> Option<[u8; 6]> {
        self.data().get(..6)?.try_into().ok()
    }

    /// Where it comes from.
    pub fn source(&self) -> Option<[u8; 6]> {
        self.data().get(6..12)?.try_into().ok()
    }
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Input {
    buffer: Vec<u8>,
}

impl Input {
    /// Reads what is there, without blocking on a non-blocking stream, and appends whole frames.
    /// An error, or end of file, means the stream is of no use any more.
    pub fn read(&mut self, stream: &mut impl Read, frames: &mut VecDeque<Frame>) -> io::Result<()> {
        let old = self.buffer.len();
        self.buffer.resize(old + CHUNK, 0);
        let result = stream.read(&mut self.buffer[old..]);
        self.buffer
            .truncate(old + result.as_ref().map_or(0, |count| *count));
        match result {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let mut start = 0;
        while let Some(header) = self.buffer[start..].first_chunk::<HEADER>() {
            let length = u32::from_be_bytes(*header) as usize;
            if length > MAX_FRAME {
                return Err(io::Error::other(format!("a frame of {length} bytes")));
            }
            let Some(whole) = self.buffer.get(start..start + HEADER + length) else {
                break;
            };
            frames.push_back(Frame(whole.into()));
            start += HEADER + length;
        }
        self.buffer.drain(..start);
        Ok(())
    }
}

/// Frames that wait for a stream to take them.
#[derive(Debug, Default)]
pub struct Output {
    queue: VecDeque<Frame>,
    bytes: usize,
    sent_of_first: usize,
}

impl Output {
    /// Queues a frame; false if it was dropped because the reader is too slow.
    pub fn push(&mut self, frame: Frame) -> bool {
        if self.bytes + frame.0.len() > MAX_QUEUE {
            return false;
        }
        self.bytes += frame.0.len();
        self.queue.push_back(frame);
        true
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Writes what the stream takes without blocking.
    pub fn write(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while let Some(frame) = self.queue.front() {
            match stream.write(&frame.0[self.sent_of_first..]) {
                Ok(count) => self.sent_of_first += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.sent_of_first == frame.0.len() {
                self.bytes -= frame.0.len();
                self.sent_of_first = 0;
                self.queue.pop_front();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A stream that gives at most a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(sizes in proptest::collection::vec(0usize..3000, 1..20), step in 1usize..4000) {
            let mut wire = Vec::new();
            let mut output = Output::default();
            for (index, size) in sizes.iter().enumerate() {
                prop_assert!(output.push(Frame::new(&vec![index as u8; *size]).unwrap()));
            }
            output.write(&mut wire).unwrap();
            prop_assert!(output.is_empty());

            let (mut input, mut frames, mut stream) = (Input::default(), VecDeque::new(), Drip(&wire, step));
            while input.read(&mut stream, &mut frames).is_ok() {}
            prop_assert_eq!(frames.iter().map(|f| f.data().len()).collect::<Vec<_>>(), sizes);
        }

        #[test]
        fn garbage_never_panics_nor_grows(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let (mut input, mut frames, mut stream) = (Input::default(), VecDeque::new(), Drip(&bytes, 700));
            while input.read(&mut stream, &mut frames).is_ok() {}
            prop_assert!(input.buffer.len() <= bytes.len());
        }
    }

    #[test]
    fn an_impossible_length_ends_the_stream() {
        let mut wire: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 0];
        let error = Input::default()
            .read(&mut wire, &mut VecDeque::new())
            .unwrap_err();
        assert_eq!(error.to_string(), "a frame of 4294967295 bytes");
    }

    #[test]
    fn a_reader_that_sleeps_loses_frames_and_blocks_nobody() {
        let mut output = Output::default();
        let frame = Frame::new(&[0; 60_000]).unwrap();
        let taken = (0..1000).filter(|_| output.push(frame.clone())).count();
        assert!(taken > 10 && taken < 100, "{taken}");
    }
}
