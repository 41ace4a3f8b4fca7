//! `GET /v1/models`

use api::model::{Lifecycle, ModelInfo};
use api::page::IdPage;
use api::read::quoted;
use axum::Json;

use super::table;
use crate::error::ApiError;
use crate::http::query::Query;

pub(in crate::http) async fn list(mut query: Query) -> Result<Json<IdPage<ModelInfo>>, ApiError> {
    let limit = query.number("limit", 1, 1000)?.unwrap_or(20) as usize;
    let (after, before) = (query.text("after_id")?, query.text("before_id")?);
    let wanted = lifecycles(&mut query)?;
    query.finish()?;
    if after.is_some() && before.is_some() {
        return Err(ApiError::invalid(
            "after_id and before_id: at most one of them",
        ));
    }
    let models: Vec<ModelInfo> = table::all()
        .filter(|model| wanted.contains(&model.lifecycle))
        .collect();
    page(models, limit, after.as_deref(), before.as_deref()).map(Json)
}

fn page(
    mut models: Vec<ModelInfo>,
    limit: usize,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<IdPage<ModelInfo>, ApiError> {
    let position = |key: &str, id: &str| {
        let found = models.iter().position(|model| model.id == id);
        found.ok_or_else(|| {
            ApiError::invalid(format!("{key}: no listed model has the id {}", quoted(id)))
        })
    };
    let (start, end) = match (after, before) {
        (Some(id), _) => (position("after_id", id)? + 1, models.len()),
        (None, Some(id)) => (0, position("before_id", id)?),
        (None, None) => (0, models.len()),
    };
    let has_more = end - start > limit;
    let (start, end) = match before {
        Some(_) => (end.saturating_sub(limit).max(start), end),
        None => (start, end.min(start + limit)),
    };
    let data: Vec<ModelInfo> = models.drain(start..end).collect();
    let (first_id, last_id) = (
        data.first().map(|model| model.id.clone()),
        data.last().map(|model| model.id.clone()),
    );
    Ok(IdPage {
        data,
        has_more,
        first_id,
        last_id,
    })
}

fn lifecycles(query: &mut Query) -> Result<Vec<Lifecycle>, ApiError> {
    let names = query.list("lifecycle");
    if names.is_empty() {
        return Ok(vec![Lifecycle::Active, Lifecycle::Deprecated]);
    }
    let parse = |name: String| match name.as_str() {
        "active" => Ok(Lifecycle::Active),
        "deprecated" => Ok(Lifecycle::Deprecated),
        "retired" => Ok(Lifecycle::Retired),
        other => {
            let known = "`active`, `deprecated`, `retired`";
            Err(ApiError::invalid(format!(
                "lifecycle[]: must be one of {known}, got {}",
                quoted(other)
            )))
        }
    };
    names.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(page: &IdPage<ModelInfo>) -> Vec<&str> {
        page.data.iter().map(|model| model.id.as_str()).collect()
    }

    #[test]
    fn pages_forward_and_backward_meet() {
        let all: Vec<ModelInfo> = table::all().collect();
        let first = page(all.clone(), 3, None, None).unwrap();
        assert!(first.has_more);
        let second = page(all.clone(), 3, first.last_id.as_deref(), None).unwrap();
        assert_eq!(ids(&second)[0], all[3].id);
        let back = page(all.clone(), 3, None, second.first_id.as_deref()).unwrap();
        assert_eq!((ids(&back), back.has_more), (ids(&first), false));
        assert!(page(all, 3, Some("nobody"), None).is_err());
    }
}
