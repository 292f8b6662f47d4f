//! A program's disk, recorded or broken by the library `tidegate-disk`, which is preloaded into it.

use std::path::Path;

use anyhow::Result;

use crate::program::binary;

/// How the disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    None,
    /// There is no room: `ENOSPC` for whatever would make a file longer.
    Full,
    /// `EIO` for every write.
    WriteFails,
    /// `EIO` for every fsync.
    SyncFails,
    /// `EROFS` for every change.
    ReadOnly,
}

/// Variables that have the program write down what it does to `folder` in the file `trace`.
///
/// # Errors
/// If the library was not built.
pub fn recorded(folder: &Path, trace: &Path) -> Result<Vec<(String, String)>> {
    Ok(preloaded(folder, ("TIDEGATE_DISK_TRACE", trace))?.to_vec())
}

/// Variables that make the program's disk fail in `folder`, as [`set`] says in the file `control`.
///
/// # Errors
/// If the library was not built, or the file cannot be written.
pub fn controlled(folder: &Path, control: &Path) -> Result<Vec<(String, String)>> {
    set(control, Fault::None)?;
    Ok(preloaded(folder, ("TIDEGATE_DISK_FAULT", control))?.to_vec())
}

/// Makes the disk fail so from now on.
///
/// # Errors
/// If the file cannot be written.
pub fn set(control: &Path, fault: Fault) -> Result<()> {
    let byte = match fault {
        Fault::None => "0",
        Fault::Full => "1",
        Fault::WriteFails => "2",
        Fault::SyncFails => "3",
        Fault::ReadOnly => "4",
    };
    Ok(std::fs::write(control, byte)?)
}

fn preloaded(folder: &Path, (name, path): (&str, &Path)) -> Result<[(String, String); 3]> {
    let variable = |name: &str, path: &Path| (name.to_owned(), path.display().to_string());
    Ok([
        variable("LD_PRELOAD", &binary("libtidegate_disk.so")?),
        variable("TIDEGATE_DISK_FOLDER", folder),
        variable(name, path),
    ])
}
