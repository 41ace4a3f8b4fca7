use super::*;

const DAY: i64 = 20_000;

fn session(id: &str) -> Name {
    Name::Session(id.into())
}

fn workspace() -> Name {
    Name::Workspace("w".into())
}

/// Accounts with these caps, nothing spent.
fn accounts(caps: &[(Name, i64)]) -> Accounts {
    let mut accounts = Accounts::default();
    for (name, cap) in caps {
        accounts.open(name.clone(), Some(*cap), 0, DAY);
    }
    accounts
}

fn bid(names: &[Name], worst: i64) -> Bid {
    Bid {
        names: names.to_vec(),
        worst: Some(worst),
        day: DAY,
    }
}

fn spent(accounts: &Accounts, name: &Name) -> i64 {
    accounts.accounts[name].spent
}

#[test]
fn what_does_not_fit_waits_and_the_only_call_always_fits() {
    let s = session("s");
    let mut accounts = accounts(&[(s.clone(), 100)]);
    let large = bid(std::slice::from_ref(&s), 500);
    assert_eq!(accounts.take(&large, None), Judged::Taken);
    let Judged::Waits(ticket) = accounts.take(&large, None) else {
        panic!("a second one fits")
    };
    accounts.settle(&large, 99);
    assert_eq!(accounts.take(&large, Some(ticket)), Judged::Taken);
    accounts.leave(ticket);
    accounts.settle(&large, 1);
    let refused = Refused::Spent { name: s, cap: 100 };
    assert_eq!(accounts.take(&large, None), Judged::Refused(refused));
}

#[test]
fn several_fit_as_long_as_their_worst_cases_do() {
    let s = session("s");
    let mut accounts = accounts(&[(s.clone(), 100)]);
    let call = bid(&[s], 30);
    for _ in 0..3 {
        assert_eq!(accounts.take(&call, None), Judged::Taken);
    }
    assert!(matches!(accounts.take(&call, None), Judged::Waits(_)));
}

#[test]
fn a_call_takes_from_every_budget_or_from_none() {
    let (s, w) = (session("s"), workspace());
    let mut accounts = accounts(&[(s.clone(), 1000), (w.clone(), 100)]);
    let call = bid(&[s.clone(), w.clone()], 60);
    assert_eq!(accounts.take(&call, None), Judged::Taken);
    assert!(matches!(accounts.take(&call, None), Judged::Waits(_)));
    assert_eq!(accounts.accounts[&s].aside, 60);
    accounts.settle(&call, 10);
    assert_eq!((spent(&accounts, &s), spent(&accounts, &w)), (10, 10));
    assert_eq!(accounts.accounts[&s].aside, 0);
}

#[test]
fn who_waits_is_not_overtaken_in_the_same_budget_and_does_not_hold_others() {
    let (a, b, w) = (session("a"), session("b"), workspace());
    let mut accounts = accounts(&[(a.clone(), 50), (b.clone(), 1000), (w.clone(), 1000)]);
    let large = bid(&[a.clone(), w.clone()], 45);
    let small = bid(&[a.clone(), w.clone()], 5);
    assert_eq!(accounts.take(&large, None), Judged::Taken);
    let Judged::Waits(first) = accounts.take(&large, None) else {
        panic!()
    };
    // It would fit, but another waits for the same budget.
    let Judged::Waits(second) = accounts.take(&small, None) else {
        panic!("overtaken")
    };
    assert!(first < second);
    assert_eq!(accounts.take(&bid(&[b, w], 45), None), Judged::Taken);
    accounts.leave(first);
    assert_eq!(accounts.take(&small, Some(second)), Judged::Taken);
}

#[test]
fn a_call_without_a_price_is_refused_where_a_budget_holds() {
    let s = session("s");
    let mut accounts = accounts(&[(s.clone(), 100)]);
    let unpriced = Bid {
        worst: None,
        ..bid(std::slice::from_ref(&s), 0)
    };
    assert_eq!(
        accounts.take(&unpriced, None),
        Judged::Refused(Refused::Unpriced)
    );
    accounts.set_cap(&s, None);
    assert_eq!(accounts.take(&unpriced, None), Judged::Taken);
    accounts.settle(&unpriced, 7);
    assert_eq!(spent(&accounts, &s), 7);
}

#[test]
fn a_free_call_waits_for_nobody_but_needs_money_left() {
    let s = session("s");
    let mut accounts = accounts(&[(s.clone(), 100)]);
    let (paid, free) = (
        bid(std::slice::from_ref(&s), 100),
        bid(std::slice::from_ref(&s), 0),
    );
    assert_eq!(accounts.take(&paid, None), Judged::Taken);
    assert_eq!(accounts.take(&free, None), Judged::Taken);
    accounts.settle(&free, 0);
    accounts.settle(&paid, 100);
    assert!(matches!(accounts.take(&free, None), Judged::Refused(_)));
}

#[test]
fn a_day_begins_with_nothing_spent_and_yesterdays_calls_stay_yesterdays() {
    let (s, w) = (session("s"), workspace());
    let mut accounts = accounts(&[(s.clone(), 1000), (w.clone(), 100)]);
    let today = bid(&[s.clone(), w.clone()], 90);
    assert_eq!(accounts.take(&today, None), Judged::Taken);
    let tomorrow = Bid {
        day: DAY + 1,
        ..today.clone()
    };
    let Judged::Waits(ticket) = accounts.take(&tomorrow, None) else {
        panic!("what is set aside stays so over midnight")
    };
    accounts.settle(&today, 90);
    assert_eq!((spent(&accounts, &s), spent(&accounts, &w)), (90, 0));
    assert_eq!(accounts.take(&tomorrow, Some(ticket)), Judged::Taken);
    // A clock that goes back does not give the day's money again.
    accounts.settle(&tomorrow, 100);
    assert!(matches!(accounts.take(&today, None), Judged::Refused(_)));
}

#[test]
fn nothing_is_remembered_that_says_nothing() {
    let (s, w) = (session("s"), workspace());
    let mut accounts = accounts(&[(s.clone(), 100), (w.clone(), 100)]);
    let call = bid(&[s.clone(), w.clone()], 10);
    assert_eq!(accounts.take(&call, None), Judged::Taken);
    let names = [s.clone(), w.clone()];
    accounts.close(&names, DAY);
    assert!(accounts.has(&s), "its call is under way");
    accounts.settle(&call, 10);
    accounts.close(&[], DAY);
    assert!(!accounts.has(&s) && accounts.has(&w));
    accounts.close(&[], DAY + 1);
    assert!(!accounts.has(&w));
}

/// Whatever comes in whatever order, a budget is exceeded by less than one call.
#[test]
fn no_order_of_calls_overspends_by_more_than_one() {
    for seed in 0..200_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            i64::try_from(random % below).unwrap()
        };
        let s = session("s");
        let mut accounts = accounts(&[(s.clone(), 1000)]);
        let mut under_way: Vec<(Bid, i64)> = Vec::new();
        for _ in 0..200 {
            if next(2) == 0 || under_way.is_empty() {
                let worst = 1 + next(400);
                let call = bid(std::slice::from_ref(&s), worst);
                if accounts.take(&call, None) == Judged::Taken {
                    under_way.push((call, next(worst.unsigned_abs() + 1)));
                }
                let waiting: Vec<Ticket> = accounts.waiting.keys().copied().collect();
                waiting
                    .into_iter()
                    .for_each(|ticket| accounts.leave(ticket));
            } else {
                let (call, cost) = under_way.swap_remove(0);
                accounts.settle(&call, cost);
            }
        }
        for (call, cost) in under_way {
            accounts.settle(&call, cost);
        }
        let spent = spent(&accounts, &s);
        assert!(spent < 1000 + 400, "seed {seed}: {spent}");
        assert_eq!(accounts.accounts[&s].aside, 0);
    }
}
