//! The list of sessions, by date of creation in either order, forwards and backwards.

use rusqlite::named_params;

use super::row::{self, SessionRow, Status};
use crate::cursor::List;
use crate::page::Dated;
use crate::{ListError, Order, Page, PageQuery, Realm, Sessions, TimeRange};

/// What [`Sessions::list`] shows.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// Only sessions of this agent.
    pub agent_id: Option<String>,
    /// Only sessions of this version of it.
    pub agent_version: Option<u32>,
    /// Bounds on their creation.
    pub created: TimeRange,
    /// Whether archived ones are shown, too.
    pub include_archived: bool,
    /// Only sessions with one of these; none means any.
    pub statuses: Vec<Status>,
    /// By date of creation.
    pub order: Order,
    /// Which page.
    pub page: PageQuery,
}

impl Sessions<'_> {
    /// A realm's sessions.
    pub async fn list(
        self,
        realm: &Realm,
        query: SessionQuery,
    ) -> Result<Page<SessionRow>, ListError> {
        let realm = realm.clone();
        self.0
            .read(move |connection| {
                let words: Vec<&str> = query
                    .statuses
                    .iter()
                    .map(|status| status.as_str())
                    .collect();
                let words = words.join(" ");
                let dated = Dated {
                    list: List::Sessions,
                    order: query.order,
                    select: row::SELECT,
                    base: "sessions",
                    // The words are fixed and none contains another.
                    condition: "workspace_id = :workspace
                        AND (:environment IS NULL OR environment_id = :environment)
                        AND (:agent IS NULL OR agent_id = :agent)
                        AND (:version IS NULL OR agent_version = :version)
                        AND (:archived OR archived_at IS NULL)
                        AND (:statuses = '' OR instr(:statuses, status) > 0)",
                    values: named_params! {
                        ":workspace": realm.workspace(),
                        ":environment": realm.environment(),
                        ":agent": query.agent_id,
                        ":version": query.agent_version,
                        ":archived": query.include_archived,
                        ":statuses": words,
                    },
                    created: query.created,
                };
                dated.page(connection, &query.page, row::parse)
            })
            .await
    }
}
