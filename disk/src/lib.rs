//! Stands between a program and the C library, by `LD_PRELOAD`, for one folder of its files. Linux only.
//!
//! With `TIDEGATE_DISK_TRACE` it writes down, in order, every change to the folder, every fsync, and every answer that
//! says an event is kept: `tidegate-chaos`, which reads it, cuts the power after each of them. With
//! `TIDEGATE_DISK_FAULT` it makes the disk fail as the first byte of that file says, which a test may change at any time.
//!
//! What is passed on is passed on as a system call, so that no function here meets itself.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_char, c_int, c_long, c_void, iovec, mode_t, off_t, size_t, ssize_t};

/// What the folder's disk does, by the first byte of the file that `TIDEGATE_DISK_FAULT` names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Nothing grows any more.
    Full,
    /// No write works.
    WriteFails,
    /// No fsync works.
    SyncFails,
    /// The file system was mounted again for reading only.
    ReadOnly,
}

/// One line of the record: a letter, a path below the folder, a number, and bytes.
enum Record<'a> {
    Create(&'a Path),
    Folder(&'a Path),
    Remove(&'a Path),
    Rename(&'a Path, &'a Path),
    Write(&'a Path, u64, &'a [u8]),
    Truncate(&'a Path, u64),
    /// An fsync begins, with its own number.
    SyncBegins(&'a Path, u64),
    /// That fsync has returned without an error.
    SyncEnds(&'a Path, u64),
    /// These bytes are about to be sent to somebody.
    Answer(&'a [u8]),
}

struct Watch {
    folder: PathBuf,
    trace: Option<c_int>,
    fault: Option<c_int>,
    /// Held while a change is made and written down, so that the record has them in their order.
    order: Mutex<()>,
    syncs: AtomicU64,
}

fn watch() -> Option<&'static Watch> {
    static WATCH: OnceLock<Option<Watch>> = OnceLock::new();
    WATCH.get_or_init(Watch::from_environment).as_ref()
}

impl Watch {
    fn from_environment() -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "this library has no other way to be told anything")]
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let open = |path: PathBuf, flags: c_int| {
            let path = std::ffi::CString::new(path.into_os_string().as_encoded_bytes()).ok()?;
            let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags, 0o600) };
            c_int::try_from(fd).ok().filter(|fd| *fd >= 0)
        };
        Some(Self {
            folder: variable("TIDEGATE_DISK_FOLDER")?,
            trace: variable("TIDEGATE_DISK_TRACE")
                .and_then(|path| open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC)),
            fault: variable("TIDEGATE_DISK_FAULT").and_then(|path| open(path, libc::O_RDONLY | libc::O_CLOEXEC)),
            order: Mutex::new(()),
            syncs: AtomicU64::new(0),
        })
    }

    /// The path below the folder, if it is one. SQLite's shared memory is left out: it is made anew after a crash.
    fn below<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.folder).ok().filter(|path| !path.as_os_str().as_bytes().ends_with(b"-shm"))
    }

    fn of_file(&self, fd: c_int) -> Option<PathBuf> {
        let link = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).ok()?;
        let mut buffer = [0_u8; libc::PATH_MAX as usize];
        let length = unsafe {
            libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, link.as_ptr(), buffer.as_mut_ptr(), buffer.len())
        };
        let target = Path::new(OsStr::from_bytes(buffer.get(..usize::try_from(length).ok()?)?));
        self.below(target).map(Path::to_owned)
    }

    fn fault(&self) -> Fault {
        let mut byte = [b'0'];
        if let Some(fd) = self.fault {
            unsafe { libc::syscall(libc::SYS_pread64, fd, byte.as_mut_ptr(), 1, 0) };
        }
        match byte {
            [b'1'] => Fault::Full,
            [b'2'] => Fault::WriteFails,
            [b'3'] => Fault::SyncFails,
            [b'4'] => Fault::ReadOnly,
            _ => Fault::None,
        }
    }

    fn keep(&self, record: &Record<'_>) {
        let Some(trace) = self.trace else { return };
        let (letter, path, number, data): (u8, &Path, u64, &[u8]) = match record {
            Record::Create(path) => (b'C', path, 0, &[]),
            Record::Folder(path) => (b'F', path, 0, &[]),
            Record::Remove(path) => (b'D', path, 0, &[]),
            Record::Rename(from, to) => (b'R', from, 0, to.as_os_str().as_bytes()),
            Record::Write(path, offset, data) => (b'W', path, *offset, data),
            Record::Truncate(path, length) => (b'T', path, *length, &[]),
            Record::SyncBegins(path, number) => (b'B', path, *number, &[]),
            Record::SyncEnds(path, number) => (b'E', path, *number, &[]),
            Record::Answer(data) => (b'A', Path::new(""), 0, data),
        };
        let path = path.as_os_str().as_bytes();
        let mut line = Vec::with_capacity(15 + path.len() + data.len());
        line.push(letter);
        line.extend_from_slice(&u16::try_from(path.len()).unwrap_or(0).to_le_bytes());
        line.extend_from_slice(&number.to_le_bytes());
        line.extend_from_slice(&u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
        line.extend_from_slice(path);
        line.extend_from_slice(data);
        let mut rest = &line[..];
        while !rest.is_empty() {
            let written = unsafe { libc::syscall(libc::SYS_write, trace, rest.as_ptr(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) => rest = &rest[written..],
                // A record with a hole in it would prove nothing.
                Err(_) => std::process::abort(),
            }
        }
    }

    /// Makes a change, and writes it down if it worked.
    fn change(
        &self,
        change: impl FnOnce() -> c_long,
        record: impl FnOnce(c_long) -> Option<(PathBuf, Change)>,
    ) -> c_long {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let done = change();
        if done >= 0
            && let Some((path, change)) = record(done)
        {
            match change {
                Change::Create => self.keep(&Record::Create(&path)),
                Change::Folder => self.keep(&Record::Folder(&path)),
                Change::Remove => self.keep(&Record::Remove(&path)),
                Change::Rename(to) => self.keep(&Record::Rename(&path, &to)),
                Change::Truncate(length) => self.keep(&Record::Truncate(&path, length)),
            }
        }
        done
    }

    fn write(&self, fd: c_int, path: &Path, bytes: &[u8], at: Option<off_t>) -> c_long {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = at.unwrap_or_else(|| unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) } as off_t);
        let end = u64::try_from(offset).unwrap_or(0) + bytes.len() as u64;
        match self.fault() {
            Fault::Full if end > size_of_file(fd) => return fail(libc::ENOSPC),
            Fault::WriteFails => return fail(libc::EIO),
            Fault::ReadOnly => return fail(libc::EROFS),
            Fault::None | Fault::Full | Fault::SyncFails => {}
        }
        let written = match at {
            Some(at) => unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes.as_ptr(), bytes.len(), at) },
            None => unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) },
        };
        if let Ok(length) = usize::try_from(written) {
            self.keep(&Record::Write(path, u64::try_from(offset).unwrap_or(0), &bytes[..length]));
        }
        written
    }

    fn sync(&self, path: &Path, sync: impl FnOnce() -> c_long) -> c_long {
        if self.fault() == Fault::SyncFails {
            return fail(libc::EIO);
        }
        let number = self.syncs.fetch_add(1, Ordering::Relaxed);
        {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            self.keep(&Record::SyncBegins(path, number));
        }
        let done = sync();
        if done == 0 {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            self.keep(&Record::SyncEnds(path, number));
        }
        done
    }

    /// Writes down what says that an event is kept, before it is sent.
    fn answer(&self, bytes: &[u8]) {
        let says = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        if self.trace.is_some() && (says(b"\"status\":\"accepted\"") || says(b"\"status\":\"duplicate\"")) {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            self.keep(&Record::Answer(bytes));
        }
    }
}

enum Change {
    Create,
    Folder,
    Remove,
    Rename(PathBuf),
    Truncate(u64),
}

fn fail(code: c_int) -> c_long {
    unsafe { *libc::__errno_location() = code };
    -1
}

fn size_of_file(fd: c_int) -> u64 {
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    unsafe { libc::syscall(libc::SYS_fstat, fd, &raw mut stat) };
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// # Safety
/// `path` is a C string.
unsafe fn path_of<'a>(path: *const c_char) -> &'a Path {
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()))
}

/// # Safety
/// `buffer` holds `length` bytes.
unsafe fn bytes_of<'a>(buffer: *const c_void, length: size_t) -> &'a [u8] {
    if length == 0 { &[] } else { unsafe { std::slice::from_raw_parts(buffer.cast(), length) } }
}

/// # Safety
/// As `open(2)`.
unsafe fn open_file(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let pass = || unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    let watched = watch().and_then(|watch| Some((watch, watch.below(unsafe { path_of(path) })?.to_owned())));
    let Some((watch, below)) = watched else { return pass() as c_int };
    let writes = flags & (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT) != 0;
    if writes && watch.fault() == Fault::ReadOnly {
        return fail(libc::EROFS) as c_int;
    }
    let exists = unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, path, libc::F_OK) } == 0;
    let (makes, empties) = (flags & libc::O_CREAT != 0 && !exists, flags & libc::O_TRUNC != 0 && exists);
    let change = if makes { Some(Change::Create) } else { empties.then_some(Change::Truncate(0)) };
    watch.change(pass, |_| change.map(|change| (below, change))) as c_int
}

/// `open(2)`. Its third argument is not always there; where it is not, it is not looked at.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { open_file(path, flags, mode) }
}

/// `open(2)` for large files.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    unsafe { open_file(path, flags, mode) }
}

/// `write(2)`, to files and to sockets.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    let bytes = unsafe { bytes_of(buffer, length) };
    if let Some(watch) = watch() {
        if let Some(path) = watch.of_file(fd) {
            return watch.write(fd, &path, bytes, None) as ssize_t;
        }
        watch.answer(bytes);
    }
    unsafe { libc::syscall(libc::SYS_write, fd, buffer, length) as ssize_t }
}

/// `pwrite(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(fd: c_int, buffer: *const c_void, length: size_t, offset: off_t) -> ssize_t {
    let bytes = unsafe { bytes_of(buffer, length) };
    match watch().and_then(|watch| Some((watch, watch.of_file(fd)?))) {
        Some((watch, path)) => watch.write(fd, &path, bytes, Some(offset)) as ssize_t,
        None => unsafe { libc::syscall(libc::SYS_pwrite64, fd, buffer, length, offset) as ssize_t },
    }
}

/// `pwrite(2)` for large files.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, length: size_t, offset: off_t) -> ssize_t {
    unsafe { pwrite(fd, buffer, length, offset) }
}

/// `writev(2)`, as answers are sent by it.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if let Some(watch) = watch() {
        let parts = unsafe { std::slice::from_raw_parts(parts, usize::try_from(count).unwrap_or(0)) };
        let bytes: Vec<u8> =
            parts.iter().flat_map(|part| unsafe { bytes_of(part.iov_base, part.iov_len) }).copied().collect();
        if let Some(path) = watch.of_file(fd) {
            return watch.write(fd, &path, &bytes, None) as ssize_t;
        }
        watch.answer(&bytes);
    }
    unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) as ssize_t }
}

/// `send(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn send(fd: c_int, buffer: *const c_void, length: size_t, flags: c_int) -> ssize_t {
    if let Some(watch) = watch() {
        watch.answer(unsafe { bytes_of(buffer, length) });
    }
    let nobody = std::ptr::null::<c_void>();
    unsafe { libc::syscall(libc::SYS_sendto, fd, buffer, length, flags, nobody, 0) as ssize_t }
}

/// `ftruncate(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    let pass = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) };
    let Some((watch, path)) = watch().and_then(|watch| Some((watch, watch.of_file(fd)?))) else {
        return pass() as c_int;
    };
    if watch.fault() == Fault::ReadOnly {
        return fail(libc::EROFS) as c_int;
    }
    watch.change(pass, |_| Some((path, Change::Truncate(u64::try_from(length).unwrap_or(0))))) as c_int
}

/// `ftruncate(2)` for large files.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    unsafe { ftruncate(fd, length) }
}

fn sync_file(fd: c_int, call: c_long) -> c_int {
    let pass = || unsafe { libc::syscall(call, fd) };
    match watch().and_then(|watch| Some((watch, watch.of_file(fd)?))) {
        Some((watch, path)) => watch.sync(&path, pass) as c_int,
        None => pass() as c_int,
    }
}

/// `fsync(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    sync_file(fd, libc::SYS_fsync)
}

/// `fdatasync(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync_file(fd, libc::SYS_fdatasync)
}

/// # Safety
/// `path` is a C string.
unsafe fn change_name(path: *const c_char, pass: impl FnOnce() -> c_long, change: Change) -> c_int {
    let watched = watch().and_then(|watch| Some((watch, watch.below(unsafe { path_of(path) })?.to_owned())));
    let Some((watch, below)) = watched else { return pass() as c_int };
    if watch.fault() == Fault::ReadOnly {
        return fail(libc::EROFS) as c_int;
    }
    watch.change(pass, |_| Some((below, change))) as c_int
}

/// `unlink(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let pass = || unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) };
    unsafe { change_name(path, pass, Change::Remove) }
}

/// `mkdir(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let pass = || unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) };
    unsafe { change_name(path, pass, Change::Folder) }
}

/// `rename(2)`.
///
/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let pass = || unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) };
    let target = watch().and_then(|watch| watch.below(unsafe { path_of(to) }).map(Path::to_owned));
    match target {
        Some(target) => unsafe { change_name(from, pass, Change::Rename(target)) },
        None => pass() as c_int,
    }
}
