//! Who the server is on its machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who the server is on its machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The user that `hostel serve` becomes when root starts it: a name or a number. Without it that is
    /// `hostel` where there is such a user, else the number 599999999, which nobody has. `root` keeps all
    /// privileges.
    pub user: Option<String>,
}
