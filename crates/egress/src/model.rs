//! The model way.
use std::sync::Arc;
use crate::{ClientId, Config, ConfigError, Windows};
pub(crate) struct ModelWay;
impl ModelWay { pub(crate) fn new(_: Config, _: Windows) -> Result<Self, ConfigError> { Ok(Self) } }
pub(crate) async fn serve<I: Send>(_: Arc<ModelWay>, _: ClientId, _io: I) {}
