//! Which build of the CLI a machine needs.

use std::fmt;
use std::path::Path;

/// A build of the CLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// Linux on x86-64 with glibc.
    LinuxX64,
    /// Linux on 64-bit ARM with glibc.
    LinuxArm64,
    /// Linux on x86-64 with musl.
    LinuxX64Musl,
    /// Linux on 64-bit ARM with musl.
    LinuxArm64Musl,
}

impl Platform {
    /// What this machine needs; none where the CLI does not exist. The C library is looked up in
    /// the file system, because our own binary may be static.
    pub fn host() -> Option<Self> {
        Self::of(std::env::consts::ARCH, Path::new("/"))
    }

    /// What a root file system of this architecture needs.
    pub fn of(arch: &str, root: &Path) -> Option<Self> {
        let there = |path: &str| root.join(path).exists();
        match arch {
            "x86_64" => {
                let musl = there("lib/ld-musl-x86_64.so.1") && !there("lib64/ld-linux-x86-64.so.2");
                Some(if musl {
                    Self::LinuxX64Musl
                } else {
                    Self::LinuxX64
                })
            }
            "aarch64" => {
                let musl = there("lib/ld-musl-aarch64.so.1") && !there("lib/ld-linux-aarch64.so.1");
                Some(if musl {
                    Self::LinuxArm64Musl
                } else {
                    Self::LinuxArm64
                })
            }
            _ => None,
        }
    }

    /// The package with this build.
    pub fn package(self) -> String {
        format!("{}/claude-code-{self}", super::npmrc::SCOPE)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinuxX64 => "linux-x64",
            Self::LinuxArm64 => "linux-arm64",
            Self::LinuxX64Musl => "linux-x64-musl",
            Self::LinuxArm64Musl => "linux-arm64-musl",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn musl_is_chosen_where_there_is_no_glibc() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(
            Platform::of("x86_64", root.path()),
            Some(Platform::LinuxX64)
        );
        std::fs::create_dir(root.path().join("lib")).unwrap();
        std::fs::write(root.path().join("lib/ld-musl-x86_64.so.1"), "").unwrap();
        assert_eq!(
            Platform::of("x86_64", root.path()),
            Some(Platform::LinuxX64Musl)
        );
        assert_eq!(
            Platform::of("aarch64", root.path()),
            Some(Platform::LinuxArm64)
        );
        assert_eq!(Platform::of("riscv64", root.path()), None);
        assert_eq!(
            Platform::LinuxX64Musl.package(),
            "@anthropic-ai/claude-code-linux-x64-musl"
        );
    }
}
