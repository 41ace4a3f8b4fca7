use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;

fn client(name: &str) -> ClientId {
    ClientId(name.to_owned())
}

/// Calls of these clients, in this order, and the order in which they leave.
struct Line {
    pace: Arc<Pace>,
    payer: Arc<str>,
    began: Instant,
    waiting: JoinSet<()>,
    say: mpsc::Sender<(String, Duration)>,
    left: mpsc::Receiver<(String, Duration)>,
}

impl Line {
    fn new() -> Line {
        let (say, left) = mpsc::channel(256);
        Line {
            pace: Arc::default(),
            payer: "w".into(),
            began: Instant::now(),
            waiting: JoinSet::new(),
            say,
            left,
        }
    }

    /// Another call; it stands in line when this returns.
    async fn call(&mut self, name: &str) -> tokio::task::AbortHandle {
        let (pace, payer, began) = (self.pace.clone(), self.payer.clone(), self.began);
        let (client, say) = (client(name), self.say.clone());
        let handle = self.waiting.spawn(async move {
            pace.pass(&payer, &client).await;
            say.try_send((client.0, began.elapsed())).unwrap();
        });
        tokio::task::yield_now().await;
        handle
    }

    async fn left(mut self) -> Vec<(String, Duration)> {
        while self.waiting.join_next().await.is_some() {}
        drop(self.say);
        assert!(self.pace.lock().is_empty(), "nothing is remembered");
        let mut all = Vec::new();
        while let Some(one) = self.left.recv().await {
            all.push(one);
        }
        all
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn without_a_429_nobody_waits() {
    let mut line = Line::new();
    line.call("a").await;
    assert_eq!(line.left().await, [("a".to_owned(), Duration::ZERO)]);
}

#[tokio::test(start_paused = true)]
async fn clients_take_turns_in_growing_groups() {
    let mut line = Line::new();
    line.pace.limited(&line.payer, Some(2 * SECOND));
    for name in ["a", "a", "a", "a", "b", "b", "c"] {
        line.call(name).await;
    }
    let left = line.left().await;
    let names: String = left.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(&names[..1], "a");
    // The second group is two, the third four: every client has had a turn before one has two.
    let sorted = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters.into_iter().collect::<String>()
    };
    assert_eq!(sorted(&names[1..3]), "bc");
    assert_eq!(sorted(&names[3..]), "aaab");
    let times: Vec<u128> = left.iter().map(|(_, at)| at.as_millis()).collect();
    let steps = [0, 250, 250, 500, 500, 500, 500];
    for (time, step) in times.iter().zip(steps) {
        assert!((2000 + step..2010 + step).contains(time), "{times:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_payer_is_not_held() {
    let mut line = Line::new();
    line.pace.limited(&"other".into(), Some(SECOND));
    line.call("a").await;
    line.waiting.join_next().await;
    assert_eq!(line.began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_away_takes_nobodys_place() {
    let mut line = Line::new();
    line.pace.limited(&line.payer, Some(SECOND));
    let gone = line.call("a").await;
    line.call("b").await;
    gone.abort();
    let left = line.left().await;
    assert_eq!(left.len(), 1);
    assert!(left[0].1 < SECOND + STEP, "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_long_pause_is_not_waited_for() {
    let mut line = Line::new();
    line.pace.limited(&line.payer, Some(LONGEST + SECOND));
    line.call("a").await;
    assert_eq!(line.left().await[0].1, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn another_429_begins_a_longer_pause_for_those_who_are_left() {
    let mut line = Line::new();
    line.pace.limited(&line.payer, None);
    for _ in 0..3 {
        line.call("a").await;
    }
    tokio::time::sleep(SECOND + STEP / 2).await;
    // The first has left; its answer says that the pause was too short.
    line.pace.limited(&line.payer, None);
    let left = line.left().await;
    let times: Vec<u64> = left.iter().map(|(_, at)| at.as_secs()).collect();
    assert_eq!(times, [1, 3, 3], "{left:?}");
}
