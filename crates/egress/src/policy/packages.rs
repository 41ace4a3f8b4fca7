//! The public package registries that `allow_package_managers` means, on their web ports.

/// Hosts of the registries, by the manager that asks them.
pub(crate) const REGISTRIES: &[&str] = &[
    // npm, yarn, pnpm
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    // pip, uv, poetry
    "pypi.org",
    "files.pythonhosted.org",
    // cargo
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    // gem, bundler
    "rubygems.org",
    "index.rubygems.org",
    // go
    "proxy.golang.org",
    "sum.golang.org",
    // apt
    "deb.debian.org",
    "security.debian.org",
    "archive.ubuntu.com",
    "security.ubuntu.com",
    "ports.ubuntu.com",
    // maven, gradle
    "repo.maven.apache.org",
    "repo1.maven.org",
    "plugins.gradle.org",
    // nuget
    "api.nuget.org",
    // composer
    "repo.packagist.org",
];
