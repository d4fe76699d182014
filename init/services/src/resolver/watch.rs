//! Changes in a folder, by inotify(7).

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use tokio::io::unix::AsyncFd;

/// A folder that is watched for files that come to be there, whole.
#[derive(Debug)]
pub(crate) struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    /// Watches a folder.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self(crate::sys::inotify::files_in(folder)?))
    }

    /// Waits for a change; which, is for the caller to see.
    pub(crate) async fn changed(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut buffer)?));
            match read {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // Nothing was there after all.
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_file_that_is_put_in_place_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::new(folder.path()).unwrap();
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, watch.changed()).await.is_err());
        std::fs::write(folder.path().join("a.new"), "1").unwrap();
        std::fs::rename(folder.path().join("a.new"), folder.path().join("a")).unwrap();
        tokio::time::timeout(Duration::from_secs(5), watch.changed())
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_an_error() {
        let error = Watch::new(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
