//! The ways to make sandboxes on this host, one for each level of isolation.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::{
    Config, ProbeError, RuntimeChoice, cgroup::Layout, request::Maker, runtime, shared::Identity,
    sys::landlock_version,
};
use crate::provider::{Isolation, Levels};

/// What a kernel in user space costs: to the host a sandbox is one program.
const OWN_KERNEL: [&str; 3] = [
    "a sandbox that uses up its memory or its processes ends as a whole",
    "the limit of processes counts the threads of the sandbox's kernel, too",
    "what programs send elsewhere than by the ways out is refused without a record",
];

/// How sandboxes of one level are made.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub isolation: Isolation,
    pub maker: Maker,
    /// The runtime's name with its version.
    pub runtime: String,
    /// What this way costs, one sentence each.
    pub lost: Vec<String>,
}

/// All ways of this host, and why there are no others.
pub(super) struct Ways {
    pub all: Vec<Way>,
    pub levels: Levels,
}

/// What the ways depend on.
pub(super) struct Host<'a> {
    pub data: &'a Path,
    pub layout: Option<&'a Layout>,
    pub identity: Identity,
}

/// Finds the usual way, which was asked for and must work, and those to the other levels, which
/// are there or not.
pub(super) fn find_all(config: &Config, host: &Host<'_>) -> Result<Ways, ProbeError> {
    let usual = usual(&config.runtime, host)?;
    let mut levels = Levels {
        usual: usual.isolation,
        absent: BTreeMap::new(),
    };
    let mut all = vec![usual];
    for level in Isolation::ALL {
        if level == levels.usual {
            continue;
        }
        let found = match level {
            Isolation::Process => process(host),
            Isolation::Container => Ok(embedded()),
            Isolation::Gvisor => program("runsc", host).map_err(|error| match error {
                Unusable::Not(reason) => format!("runsc: {reason}"),
                Unusable::State(error) => format!("runsc has no place for its state: {error}"),
            }),
        };
        match found {
            Ok(way) => all.push(way),
            Err(reason) => drop(levels.absent.insert(level, reason)),
        }
    }
    Ok(Ways { all, levels })
}

fn usual(choice: &RuntimeChoice, host: &Host<'_>) -> Result<Way, ProbeError> {
    let refuse = |name: &str, reason| ProbeError::Runtime {
        name: name.to_owned(),
        reason,
    };
    match choice {
        RuntimeChoice::Embedded => Ok(embedded()),
        RuntimeChoice::None => process(host).map_err(|reason| refuse("none", reason)),
        RuntimeChoice::Named(name) => program(name, host).map_err(|error| match error {
            Unusable::Not(reason) => refuse(name, reason),
            Unusable::State(source) => ProbeError::Data {
                step: "make the runtime's state directory",
                source,
            },
        }),
    }
}

fn embedded() -> Way {
    Way {
        isolation: Isolation::Container,
        maker: Maker::Embedded,
        runtime: "embedded libcontainer 0.7".to_owned(),
        lost: Vec::new(),
    }
}

/// Our own namespaces. Landlock is part of what this level promises.
fn process(host: &Host<'_>) -> Result<Way, String> {
    if landlock_version() == 0 {
        let how =
            "the level process needs Landlock (Linux 5.13, and landlock among the kernel's lsm=)";
        return Err(how.to_owned());
    }
    if host.identity == Identity::Shared {
        let how = "the level process needs user namespaces: sysctl user.max_user_namespaces=10000";
        return Err(how.to_owned());
    }
    Ok(Way {
        isolation: Isolation::Process,
        maker: Maker::Process,
        runtime: "none".to_owned(),
        lost: Vec::new(),
    })
}

enum Unusable {
    /// For this reason, with what to do.
    Not(String),
    /// Its directory could not be made.
    State(io::Error),
}

fn program(name: &str, host: &Host<'_>) -> Result<Way, Unusable> {
    let not = |reason: &str| Unusable::Not(reason.to_owned());
    if !runtime::KNOWN.contains(&name) {
        let known = runtime::KNOWN.join(", ");
        return Err(Unusable::Not(format!("only {known} are supported")));
    }
    if host.identity == Identity::Own {
        return Err(not(
            "it is used as root only; the embedded runtime works without",
        ));
    }
    let path = runtime::find(name).ok_or_else(|| not("it is not installed"))?;
    let version = runtime::version(&path).ok_or_else(|| not("it does not run"))?;
    let state = host.data.join("runtime").join(name);
    fs::create_dir_all(&state).map_err(Unusable::State)?;
    let maker = runtime::maker(name, path, state, host.layout);
    let own_kernel = maker.own_kernel();
    let lost = OWN_KERNEL.iter().filter(|_| own_kernel);
    Ok(Way {
        isolation: if own_kernel {
            Isolation::Gvisor
        } else {
            Isolation::Container
        },
        maker,
        runtime: version,
        lost: lost.map(|&sentence| sentence.to_owned()).collect(),
    })
}
