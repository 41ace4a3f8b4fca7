//! `POST /v1/api_keys/{api_key_id}/rotate`: a new key for the same, and an end for the old one.

use api::api_key::RotateApiKey;
use axum::Json;
use axum::extract::State;
use chrono::TimeDelta;
use store::{RotateKeyError, Rotation};

use super::Made;
use crate::app::App;
use crate::auth::{Caller, Fresh};
use crate::error::ApiError;
use crate::http::extract::{self, Id};
use crate::http::query::Query;

pub(in crate::http) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    query: Query,
    extract::Json(request): extract::Json<RotateApiKey>,
) -> Result<Json<Made>, ApiError> {
    query.finish()?;
    let (now, fresh) = (app.clock.now(), Fresh::new(&app.ids));
    let grace = TimeDelta::seconds(request.grace_seconds.cast_signed());
    let rotation = Rotation {
        id: fresh.id,
        sha256: fresh.sha256,
        hint: fresh.hint,
        at: now,
        old_until: now + grace,
    };
    let keys = app.store.keys();
    match keys.rotate(&caller.reach(), &id, rotation).await {
        Ok(row) => Made::new(row, &fresh.secret, now).map(Json),
        Err(RotateKeyError::NotFound) => Err(super::not_found(&id)),
        Err(RotateKeyError::Over) => Err(ApiError::invalid(
            "the key has expired or was revoked; create a new one",
        )),
        Err(RotateKeyError::Store(error)) => Err(error.into()),
    }
}
