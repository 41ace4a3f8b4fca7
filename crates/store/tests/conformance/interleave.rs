//! Properties of the log under any interleaving of what callers and owners do, with listings that
//! are read page by page in between.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use store::*;

use crate::fixture::*;

/// One step. Numbers that choose among something are taken modulo its size.
#[derive(Clone, Debug)]
enum Step {
    Enqueue(u8),
    /// One commit: each entry processes the queued event it chooses, or appends.
    Commit(Vec<Option<u8>>),
    /// A commit that must fail after having done something.
    Refused,
    /// Starts listings of pages of this size in both orders.
    List(u32),
    /// Reads one page of every listing.
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u8..4).prop_map(Step::Enqueue),
        4 => vec(proptest::option::of(any::<u8>()), 1..5).prop_map(Step::Commit),
        1 => Just(Step::Refused),
        1 => (1u32..5).prop_map(Step::List),
        3 => Just(Step::Turn),
    ]
}

/// A listing under way: what was there at its beginning, and what it has shown.
struct Listing {
    order: Order,
    limit: u32,
    cursor: Option<String>,
    done: bool,
    expected: BTreeSet<String>,
    shown: Vec<String>,
}

#[derive(Default)]
struct Model {
    log: Vec<String>,
    waiting: Vec<String>,
    made: usize,
    listings: Vec<Listing>,
}

impl Model {
    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("e{}", self.made)
    }

    fn all(&self) -> BTreeSet<String> {
        self.log.iter().chain(&self.waiting).cloned().collect()
    }
}

async fn run(steps: Vec<Step>) {
    let bed = Bed::with_session("s").await;
    let fence = bed.claim("s").await;
    let mut model = Model::default();
    for step in steps {
        take(&bed, fence, &mut model, step).await;
    }
    while model.listings.iter().any(|listing| !listing.done) {
        turn(&bed, &mut model).await;
    }
    let numbered: Vec<(i64, String)> = (1..).zip(model.log.iter().cloned()).collect();
    assert_eq!(bed.log("s").await, numbered);
    let waiting = bed.store.events().queued("s").await.unwrap();
    assert_eq!(
        waiting
            .into_iter()
            .map(|event| event.id)
            .collect::<Vec<_>>(),
        model.waiting
    );
    model.listings.iter().for_each(check);
}

async fn take(bed: &Bed, fence: Fence, model: &mut Model, step: Step) {
    let events = bed.store.events();
    match step {
        Step::Enqueue(count) => {
            let ids: Vec<String> = (0..count).map(|_| model.fresh()).collect();
            events
                .enqueue(&MINE, "s", ids.iter().map(|id| queued(id)).collect())
                .await
                .unwrap();
            model.waiting.extend(ids);
        }
        Step::Commit(choices) => {
            let mut writes = Vec::new();
            for choice in choices {
                let chosen = choice.filter(|_| !model.waiting.is_empty());
                let id = match chosen {
                    Some(choice) => model
                        .waiting
                        .remove(usize::from(choice) % model.waiting.len()),
                    None => model.fresh(),
                };
                writes.push(if chosen.is_some() {
                    process(&id)
                } else {
                    append(&id)
                });
                model.log.push(id);
            }
            events.commit("s", fence, writes).await.unwrap();
        }
        Step::Refused => {
            let mut writes: Vec<Write> = model.waiting.iter().map(|id| process(id)).collect();
            writes.extend([append("lost"), process("absent")]);
            assert!(events.commit("s", fence, writes).await.is_err());
        }
        Step::List(limit) => {
            for order in [Order::Asc, Order::Desc] {
                let expected = model.all();
                let listing = Listing {
                    order,
                    limit,
                    cursor: None,
                    done: false,
                    expected,
                    shown: Vec::new(),
                };
                model.listings.push(listing);
            }
            turn(bed, model).await;
        }
        Step::Turn => turn(bed, model).await,
    }
}

async fn turn(bed: &Bed, model: &mut Model) {
    for listing in model.listings.iter_mut().filter(|listing| !listing.done) {
        let page = PageQuery {
            limit: listing.limit,
            cursor: listing.cursor.take(),
        };
        let query = EventQuery {
            order: listing.order,
            page,
            ..EventQuery::default()
        };
        let page = bed
            .store
            .events()
            .list(&MINE, "s", query)
            .await
            .unwrap()
            .unwrap();
        listing
            .shown
            .extend(page.rows.iter().map(|row| row.id().to_owned()));
        listing.done = page.next.is_none();
        listing.cursor = page.next;
    }
}

fn check(listing: &Listing) {
    let shown: BTreeSet<String> = listing.shown.iter().cloned().collect();
    assert_eq!(
        shown.len(),
        listing.shown.len(),
        "an event was listed twice: {:?}",
        listing.shown
    );
    assert!(
        shown.is_superset(&listing.expected),
        "an event was not listed: {:?}",
        listing.shown
    );
    if listing.order == Order::Desc {
        assert_eq!(
            shown, listing.expected,
            "newest first must not show what came later"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_are_gapless_and_listings_complete_under_any_interleaving(steps in vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
