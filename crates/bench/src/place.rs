//! Where things are inside a sandbox, as the server lays them out.

/// The claude binary.
pub const CLI: &str = "/opt/hostel/claude";
/// The model API's port on the sandbox's loopback.
pub const MODEL_PORT: u16 = 61001;
