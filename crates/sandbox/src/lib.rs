//! Makes sandboxes: isolated places where the processes of an agent run.
//!
//! [`Provider`] is the seam: what every maker of sandboxes promises, and the recipe for
//! adding one. [`oci`] is the embedded maker, and [`keeper`] is it in a process of its own, for a server
//! without privileges. [`doctor`] says what this host can do.
//!
//! This crate never decides *whether* a sandbox should exist: it makes, lists and destroys
//! what it is told, and reports what it sees.

mod provider;

pub mod doctor;
pub mod guest_channel;
pub mod keeper;
pub mod oci;

pub use provider::{
    Abilities, Description, DiskLimit, Footprint, Footprints, GroupLimits, GuestStream, Isolation,
    Levels, LimitHits, Link, MEMBER_IDS, MEMBERS_GROUP, Mount, Observed, Phase, Provider,
    ProviderError, Reclaimed, Resources, Rootfs, Sandbox, SandboxId, SandboxIdError, Spec, TRUSTED,
    TRUSTED_JAVA, TRUSTED_OWN, TooWeak, Trusted,
};
