//! The compressions of Debian's archives, bounded in memory.

use std::io::{self, BufRead, Read};

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None.
    Plain,
    /// gzip(1).
    Gzip,
    /// xz(1).
    Xz,
    /// zstd(1).
    Zstd,
}

/// Memory that one decompression may take: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// Window of zstd's long mode (`--long=27`, 128 MiB), the most that zstd itself takes unasked.
const ZSTD_WINDOW_LOG: u32 = 27;

impl Compression {
    /// What the end of a file name says: `data.tar.xz`, `Packages.gz`.
    pub fn of_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, end)| end) {
            Some("gz") => Compression::Gzip,
            Some("xz") => Compression::Xz,
            Some("zst") => Compression::Zstd,
            _ => Compression::Plain,
        }
    }

    /// A reader of what `inner` holds compressed.
    pub fn reader<'a, R: BufRead + Send + 'a>(
        self,
        inner: R,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Compression::Plain => Box::new(inner),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(inner)),
            Compression::Xz => {
                let flags = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)
                    .map_err(io::Error::from)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(inner, stream))
            }
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(inner)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Unpacks `data` whole, to at most `bytes_max` bytes.
pub fn unpack(compression: Compression, data: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    crate::limits::Bounded::new(compression.reader(data)?, bytes_max).read_to_end(&mut out)?;
    Ok(out)
}

/// Packs `data` with xz, as Debian does its packages and indexes.
pub fn xz(data: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    liblzma::bufread::XzEncoder::new(data, 6).read_to_end(&mut out)?;
    Ok(out)
}

/// Packs `data` with zstd at `level`; the same bytes for the same input.
pub fn zstd(data: &[u8], level: i32) -> io::Result<Vec<u8>> {
    zstd::stream::encode_all(data, level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder
            .write_all(data)
            .and_then(|()| encoder.finish())
            .expect("memory")
    }

    #[test]
    fn each_compression_reads_back_and_is_bounded() {
        let data = vec![7u8; 100_000];
        let packed = [
            (Compression::of_name("x"), data.clone()),
            (Compression::of_name("x.gz"), gzip(&data)),
            (Compression::of_name("x.tar.xz"), xz(&data).expect("xz")),
            (Compression::of_name("x.zst"), zstd(&data, 3).expect("zstd")),
        ];
        for (compression, packed) in packed {
            assert_eq!(
                unpack(compression, &packed, 100_000).expect("whole"),
                data,
                "{compression:?}"
            );
            assert!(
                unpack(compression, &packed, 99_999).is_err(),
                "{compression:?} over the bound"
            );
            if compression != Compression::Plain {
                assert!(
                    unpack(compression, &packed[..packed.len() - 1], 100_000).is_err(),
                    "{compression:?} truncated"
                );
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_never_panics(data in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
                let _ = unpack(compression, &data, 1 << 20);
            }
        }
    }
}
