//! The CLI as an artifact: versions installed side by side, read-only, verified.
