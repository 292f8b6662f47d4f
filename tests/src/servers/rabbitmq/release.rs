//! Which RabbitMQ the tests run: this machine's own, or that of another release of Debian, in a folder.
//!
//! Such a folder is a whole system without a kernel, made by [`crate::install`]; its programs take it for `/` (see
//! [`Folder`]). `TIDEGATE_TEST_RABBITMQ_RELEASE` chooses a release by its name, such as `4.0`.

use std::{
    fmt, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use super::RabbitMqKind;
use crate::servers::{find, folder::Folder, missing};

/// The variable that chooses a release.
const VARIABLE: &str = "TIDEGATE_TEST_RABBITMQ_RELEASE";

/// Where Debian's package has the programs. What it has on `PATH` insists on the system's own node and user.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// The releases that can be had from Debian, with the suite that has each.
const SUITES: [(Version, &str); 2] = [(Version(4, 0), "trixie"), (Version(4, 3), "sid")];

/// The releases whose clusters are tried. Before them one loss of a leader in four leaves a queue without any.
const FOR_CLUSTERS: RangeInclusive<Version> = Version(4, 0)..=Version(4, 3);

/// The last one that knows `pause_minority`.
const PAUSES_UNTIL: Version = Version(4, 2);

/// Release series, by which RabbitMQ's compatibility goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// A RabbitMQ that can be started.
#[derive(Debug, Clone)]
pub struct Release {
    /// What its programs take for `/`, if it is not this machine's own.
    root: Option<PathBuf>,
    /// The folder of its programs, as they see it.
    programs: PathBuf,
}

/// A release that is not here, and how to come by it.
#[derive(Debug)]
pub(crate) struct Wanted {
    version: Version,
    /// The suite of Debian that has it.
    pub(crate) suite: &'static str,
    /// Where it is expected.
    pub(crate) root: PathBuf,
}

impl Release {
    /// The one that is chosen, else this machine's own.
    pub(super) fn for_tests() -> Result<Self> {
        match chosen()? {
            Some(version) => Self::of_version(version),
            None => Self::of_machine().with_context(missing::<RabbitMqKind>),
        }
    }

    /// One that clusters are tried on: the one that is chosen, else this machine's own, else the first.
    pub(in crate::servers) fn for_clusters() -> Result<Self> {
        Self::of_version(version_for_clusters(chosen()?))
    }

    /// Whether a node without a majority can be told to pause.
    pub(in crate::servers) fn knows_pause_minority(&self) -> bool {
        self.version().is_some_and(|version| version <= PAUSES_UNTIL)
    }

    /// The server's program, as it sees itself.
    pub(super) fn server(&self) -> PathBuf {
        self.programs.join("rabbitmq-server")
    }

    /// The folder of its programs, as they see it.
    pub(super) fn programs(&self) -> &Path {
        &self.programs
    }

    /// Erlang's name server, as it sees itself.
    pub(in crate::servers) fn name_server(&self) -> Result<PathBuf> {
        match self.root {
            Some(_) => Ok("/usr/bin/epmd".into()),
            None => find::program("epmd", &[]).context("RabbitMQ is here, but not Erlang's epmd: install Erlang"),
        }
    }

    /// A folder for its processes.
    pub(in crate::servers) fn create_folder(&self, name: &str) -> Result<Folder> {
        Folder::create_within(self.root.as_deref(), name, "")
    }

    fn of_version(version: Version) -> Result<Self> {
        match Self::of_machine().filter(|own| own.version() == Some(version)) {
            Some(own) => Ok(own),
            None => Wanted::try_new(version)?.release(),
        }
    }

    fn of_machine() -> Option<Self> {
        let server = find::program("rabbitmq-server", &[PROGRAMS.into()])?;
        Some(Self { root: None, programs: server.parent()?.to_owned() })
    }

    /// By the name of the folder that the release is in: beside its programs' folder in Debian's package, around it in
    /// RabbitMQ's own archive.
    fn version(&self) -> Option<Version> {
        let programs = match &self.root {
            Some(root) => root.join(self.programs.strip_prefix("/").ok()?),
            None => fs::canonicalize(&self.programs).ok()?,
        };
        let around = programs.parent()?;
        let beside = fs::read_dir(around.join("lib")).into_iter().flatten().flatten().map(|entry| entry.path());
        let names = beside.chain([around.to_owned()]);
        names.into_iter().find_map(|path| path.file_name()?.to_str()?.strip_prefix("rabbitmq_server-")?.parse().ok())
    }
}

impl Wanted {
    /// The releases that the tests will ask for and not find.
    pub(crate) fn find() -> Result<Vec<Self>> {
        let chosen = chosen()?;
        let mut versions: Vec<Version> = chosen.into_iter().chain([version_for_clusters(chosen)]).collect();
        versions.dedup();
        versions.into_iter().filter(|version| Release::of_version(*version).is_err()).map(Self::try_new).collect()
    }

    /// The release, once it is there.
    pub(crate) fn release(&self) -> Result<Release> {
        let Self { version, suite, root } = self;
        ensure!(
            root.exists(),
            "RabbitMQ {version} is missing. As root on Debian `cargo xtask test` fetches it from the suite {suite} into \
             {root:?}; elsewhere install it as this machine's own, or choose another by {VARIABLE}"
        );
        let release = Release { root: Some(root.clone()), programs: PROGRAMS.into() };
        match release.version() {
            Some(found) if found == *version => Ok(release),
            found => bail!("{root:?} has RabbitMQ {found:?}, not {version}: the suite {suite} has moved on"),
        }
    }

    fn try_new(version: Version) -> Result<Self> {
        let home = find::variable("HOME").context("HOME is not set")?;
        let suite = SUITES.iter().find(|(offered, _)| *offered == version).map(|(_, suite)| *suite);
        let suite =
            suite.with_context(|| format!("RabbitMQ {version} is not on this machine, nor known to be Debian's"))?;
        let root = Path::new(&home).join(".cache/tidegate-tests").join(format!("rabbitmq-{version}"));
        Ok(Self { version, suite, root })
    }
}

/// What the container's image is tagged with, if a release is chosen.
pub(super) fn chosen_tag() -> Option<String> {
    Some(chosen().ok()??.to_string())
}

fn chosen() -> Result<Option<Version>> {
    let Some(name) = find::variable(VARIABLE) else { return Ok(None) };
    let version = name.to_str().and_then(|name| name.parse().ok());
    version.map(Some).with_context(|| format!("{VARIABLE} takes a release such as 4.0, not {name:?}"))
}

fn version_for_clusters(chosen: Option<Version>) -> Version {
    let own = Release::of_machine().and_then(|own| own.version());
    let mut here = chosen.into_iter().chain(own);
    here.find(|version| FOR_CLUSTERS.contains(version)).unwrap_or(*FOR_CLUSTERS.start())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl std::str::FromStr for Version {
    type Err = anyhow::Error;

    /// Reads `4.0` or `4.0.5`.
    fn from_str(text: &str) -> Result<Self> {
        let mut numbers = text.splitn(3, '.').map(str::parse);
        let mut next = || numbers.next().context("a release has two numbers")?.context("not a number");
        Ok(Self(next()?, next()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_its_first_two_numbers() {
        let check = |text: &str, expected| assert_eq!(text.parse().ok(), expected, "{text}");
        check("4.0", Some(Version(4, 0)));
        check("3.10.8", Some(Version(3, 10)));
        check("4.1.0-rc.2", Some(Version(4, 1)));
        check("4", None);
        check("four.0", None);
        assert!(!FOR_CLUSTERS.contains(&Version(3, 13)) && FOR_CLUSTERS.contains(&Version(4, 1)));
    }

    #[test]
    fn the_version_is_read_from_debians_folders_and_from_the_archives() {
        let check = |folders: &[&str], programs: &str| {
            let root = tempfile::tempdir().unwrap();
            for folder in folders {
                fs::create_dir_all(root.path().join(folder)).unwrap();
            }
            Release { root: Some(root.path().to_owned()), programs: programs.into() }.version()
        };
        let debian = ["usr/lib/rabbitmq/bin", "usr/lib/rabbitmq/lib/rabbitmq_server-4.0.5"];
        assert_eq!(check(&debian, PROGRAMS), Some(Version(4, 0)));
        assert_eq!(
            check(&["opt/rabbitmq_server-3.13.7/sbin"], "/opt/rabbitmq_server-3.13.7/sbin"),
            Some(Version(3, 13))
        );
        assert_eq!(check(&["usr/sbin"], "/usr/sbin"), None);
    }
}
