//! Any text as the cursor of a page.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use store::{AgentQuery, AuditQuery, EventQuery, ListError, Order, PageQuery, SessionQuery};
use tokio::runtime::Runtime;

use crate::fixture::{Bed, MINE, agent, append};

/// Rows on a page.
const LIMIT: u32 = 3;

#[test]
fn any_cursor_gives_a_page_or_is_malformed() {
    fuzz::target!("cursor", 2_000, |data| {
        static WORLD: OnceLock<(Runtime, Bed)> = OnceLock::new();
        let (runtime, bed) = WORLD.get_or_init(furnished);
        let Some((how, data)) = data.split_first() else {
            return;
        };
        let cursor = match how % 2 {
            // What a cursor says, in the form that cursors have.
            0 => URL_SAFE_NO_PAD.encode(data),
            _ => String::from_utf8_lossy(data).into_owned(),
        };
        runtime.block_on(every_list(bed, &cursor));
    });
}

/// A store with more rows than a page has room for.
fn furnished() -> (Runtime, Bed) {
    let runtime = Runtime::new().unwrap();
    let bed = runtime.block_on(async {
        let bed = Bed::with_session("sesn_1").await;
        for number in 2..6 {
            let agent = agent(&format!("agent_{number}"), number);
            bed.store.agents().create(agent).await.unwrap();
        }
        let fence = bed.claim("sesn_1").await;
        let events = (0..6)
            .map(|number| append(&format!("evt_{number}")))
            .collect();
        bed.store
            .events()
            .commit("sesn_1", fence, events)
            .await
            .unwrap();
        bed
    });
    (runtime, bed)
}

async fn every_list(bed: &Bed, cursor: &str) {
    let page = || PageQuery {
        limit: LIMIT,
        cursor: Some(cursor.to_owned()),
    };
    let agents = AgentQuery {
        page: page(),
        ..AgentQuery::default()
    };
    let rows = bed.store.agents().list(&MINE, agents).await;
    bounded(rows.map(|page| page.rows.len()));
    for order in [Order::Asc, Order::Desc] {
        let events = EventQuery {
            order,
            page: page(),
            ..EventQuery::default()
        };
        let rows = bed.store.events().list(&MINE, "sesn_1", events).await;
        bounded(rows.map(|page| page.unwrap().rows.len()));
        let sessions = SessionQuery {
            order,
            page: page(),
            ..SessionQuery::default()
        };
        let rows = bed.store.sessions().list(&MINE, sessions).await;
        bounded(rows.map(|page| page.rows.len()));
        let audit = AuditQuery {
            order,
            page: page(),
            ..AuditQuery::default()
        };
        let rows = bed.store.audit().list(&MINE, audit).await;
        bounded(rows.map(|page| page.rows.len()));
    }
}

/// A cursor is a place in a list or none: never a fault of the storage.
fn bounded(rows: Result<usize, ListError>) {
    match rows {
        Ok(rows) => assert!(rows <= LIMIT as usize),
        Err(ListError::Cursor(_)) => {}
        Err(error) => panic!("{error}"),
    }
}
