use proptest::prelude::*;

use super::*;

const SMALL: Size = Size {
    memory: 100,
    disk: 10,
};

fn name(text: &str) -> Name {
    text.into()
}

fn join(queue: &mut Queue, workspace: &str) -> Ticket {
    queue.join(name(workspace), SMALL)
}

#[test]
fn places_go_in_the_order_of_coming_within_a_workspace() {
    let mut queue = Queue::new(1);
    let (first, second, third) = (
        join(&mut queue, "a"),
        join(&mut queue, "a"),
        join(&mut queue, "a"),
    );
    assert_eq!(queue.take(second), Err(Wait::Place(2)));
    assert_eq!(queue.take(first), Ok(()));
    assert_eq!(queue.take(second), Err(Wait::Place(1)));
    assert_eq!(queue.take(third), Err(Wait::Place(2)));
    queue.leave(second);
    queue.give_back(&name("a"), SMALL);
    assert_eq!(queue.take(third), Ok(()));
}

#[test]
fn the_workspace_that_holds_the_fewest_goes_first() {
    let mut queue = Queue::new(2);
    for _ in 0..2 {
        let ticket = join(&mut queue, "busy");
        queue.take(ticket).unwrap();
    }
    let crowd: Vec<Ticket> = (0..3).map(|_| join(&mut queue, "busy")).collect();
    let late = join(&mut queue, "quiet");
    assert_eq!(
        queue.take(late),
        Err(Wait::Place(1)),
        "it came last and is next"
    );
    assert_eq!(queue.take(crowd[0]), Err(Wait::Place(2)));
    queue.give_back(&name("busy"), SMALL);
    assert_eq!(queue.take(crowd[0]), Err(Wait::Place(2)));
    queue.take(late).unwrap();
    // One each: the one that was given none for longer, and after that the other.
    let later = join(&mut queue, "quiet");
    assert_eq!(queue.take(crowd[0]), Err(Wait::Place(1)));
    assert_eq!(queue.take(later), Err(Wait::Place(2)));
}

#[test]
fn a_place_that_is_given_back_goes_round() {
    let mut queue = Queue::new(1);
    let first = join(&mut queue, "a");
    queue.take(first).unwrap();
    let (again, other) = (join(&mut queue, "a"), join(&mut queue, "b"));
    queue.give_back(&name("a"), SMALL);
    assert_eq!(
        queue.take(again),
        Err(Wait::Place(2)),
        "it waited longer, and had it before"
    );
    queue.take(other).unwrap();
    queue.give_back(&name("b"), SMALL);
    queue.take(again).unwrap();
    queue.give_back(&name("a"), SMALL);
    assert!(queue.held.is_empty(), "who is gone is forgotten");
}

#[test]
fn a_workspace_at_its_quota_waits_for_itself_and_in_nobodys_way() {
    let mut queue = Queue::new(9);
    let quota = Quota {
        memory: Some(250),
        ..Quota::default()
    };
    queue.set_quota(name("a"), quota);
    for _ in 0..2 {
        let ticket = join(&mut queue, "a");
        queue.take(ticket).unwrap();
    }
    let (third, fourth) = (join(&mut queue, "a"), join(&mut queue, "a"));
    assert_eq!(queue.take(third), Err(Wait::Quota(1)));
    assert_eq!(queue.take(fourth), Err(Wait::Quota(2)));
    let other = join(&mut queue, "b");
    assert_eq!(queue.take(other), Ok(()));
    queue.set_quota(name("a"), Quota::default());
    assert_eq!(queue.take(third), Ok(()));
    assert_eq!(
        (queue.sandboxes(&name("a")), queue.sandboxes(&name("b"))),
        (3, 1)
    );
}

#[test]
fn each_quota_holds() {
    for (quota, fit) in [
        (
            Quota {
                sandboxes: Some(1),
                ..Quota::default()
            },
            1,
        ),
        (
            Quota {
                sandboxes: Some(0),
                ..Quota::default()
            },
            0,
        ),
        (
            Quota {
                memory: Some(299),
                ..Quota::default()
            },
            2,
        ),
        (
            Quota {
                disk: Some(30),
                ..Quota::default()
            },
            3,
        ),
    ] {
        let mut queue = Queue::new(9);
        queue.set_quota(name("a"), quota);
        let tickets: Vec<Ticket> = (0..5).map(|_| join(&mut queue, "a")).collect();
        let taken = tickets.iter().filter(|ticket| queue.take(**ticket).is_ok());
        assert_eq!(taken.count(), fit, "{quota:?}");
    }
}

#[test]
fn what_can_never_fit_is_known() {
    let mut queue = Queue::new(1);
    let disk = |disk| Quota {
        disk,
        ..Quota::default()
    };
    queue.set_quota(name("a"), disk(Some(9)));
    assert!(!queue.is_possible(&name("a"), SMALL));
    assert!(queue.is_possible(&name("b"), SMALL));
    queue.set_quota(name("a"), disk(Some(10)));
    assert!(queue.is_possible(&name("a"), SMALL));
}

#[test]
fn a_spare_takes_what_nobody_waits_for() {
    let mut queue = Queue::new(2);
    assert!(queue.take_spare(&name("a"), SMALL));
    let ticket = join(&mut queue, "b");
    assert!(!queue.take_spare(&name("a"), SMALL));
    queue.take(ticket).unwrap();
    assert!(!queue.take_spare(&name("a"), SMALL));
    queue.give_back(&name("b"), SMALL);
    let quota = Quota {
        sandboxes: Some(1),
        ..Quota::default()
    };
    queue.set_quota(name("a"), quota);
    assert!(!queue.take_spare(&name("a"), SMALL));
    assert!(queue.take_spare(&name("b"), SMALL));
}

proptest! {
    /// Whatever comes and goes: nobody is forgotten, positions are one row without gaps, no place is given
    /// twice, and a free place never waits for somebody who could have it.
    #[test]
    fn everybody_has_a_position_and_no_place_is_lost(steps in prop::collection::vec((0..4u8, 0..3usize), 1..60)) {
        let names = ["a", "b", "c"].map(name);
        let mut queue = Queue::new(3);
        queue.set_quota(names[2].clone(), Quota { sandboxes: Some(1), ..Quota::default() });
        let mut held: Vec<usize> = Vec::new();
        for (what, who) in steps {
            match what {
                0 | 1 => drop(queue.join(names[who].clone(), SMALL)),
                2 if !held.is_empty() => queue.give_back(&names[held.swap_remove(who % held.len())], SMALL),
                _ => if let Some(ticket) = queue.waiting.keys().next().copied() { queue.leave(ticket) },
            }
            let tickets: Vec<(Ticket, Name)> =
                queue.waiting.iter().map(|(ticket, (name, _))| (*ticket, name.clone())).collect();
            for _ in 0..tickets.len() {
                for (ticket, name) in &tickets {
                    if queue.waiting.contains_key(ticket) && queue.take(*ticket).is_ok() {
                        held.push(names.iter().position(|known| known == name).unwrap());
                    }
                }
            }
            prop_assert_eq!(queue.free + held.len(), 3);
            prop_assert!(held.iter().filter(|who| **who == 2).count() <= 1);
            prop_assert_eq!(queue.waits.len(), queue.waiting.len());
            let mut places: Vec<u32> = queue.waits.values().filter_map(|wait| match wait {
                Wait::Place(position) => Some(*position),
                Wait::Quota(_) => None,
            }).collect();
            places.sort_unstable();
            prop_assert!(places.iter().copied().eq(1..=places.len() as u32));
            prop_assert!(queue.free == 0 || places.is_empty());
        }
    }
}
