//! The canary: a version shows what it can do before sessions are offered it.
//!
//! ```text
//!   private server, version before: a conversation with a tool call ──stop──┐
//!   private server, new version: start, turn, tool, stop; then goes on with that conversation
//! ```
//!
//! Both are real servers with the settings of the real one, real sandboxes and the real CLI; only the
//! model is the scripted one. They have a data directory of their own, so nothing of the real
//! server is touched, and no session of it notices.

mod place;
mod story;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use claude::versions::{Canary, Installed, Step};
use server::config::Config;

use crate::embedded::Embedded;
use crate::failure::Failure;
pub use place::{Place, clear};
use story::Talk;

/// Says what goes on.
pub type Told<'a> = &'a (dyn Fn(&str) + Sync);

/// Tries a version. What the version did wrong is in the result; an error says that this machine,
/// or the version before, is what does not work, so that nothing is known about the new one.
pub async fn run(
    config: &Config,
    place: &Place,
    version: &Installed,
    before: Option<&Installed>,
    told: Told<'_>,
) -> Result<Canary, Failure> {
    let mut course = Course {
        steps: Vec::new(),
        told,
    };
    let earlier = match before {
        Some(before) => Some(conversation(config, place, before, &mut course).await?),
        None => None,
    };
    let settings = place.settings(config, version)?;
    let (server, client) = Embedded::private(settings, true)
        .await
        .map_err(|failure| Failure::new(format!("the canary's server: {failure}")))?;
    let talk = Talk {
        client: &client,
        model: server.model(),
        version: &version.version,
    };
    let result = tried(&talk, place, earlier.as_deref(), &mut course).await;
    server.stop().await;
    Ok(Canary {
        at_s: now(),
        from: before.map(|before| before.version.clone()),
        steps: course.steps,
        failure: result.err().map(|failure| failure.to_string()),
    })
}

/// What the version before says, to be gone on with: the session's id.
async fn conversation(
    config: &Config,
    place: &Place,
    before: &Installed,
    course: &mut Course<'_>,
) -> Result<String, Failure> {
    let settings = place.settings(config, before)?;
    let (server, client) = Embedded::private(settings, true)
        .await
        .map_err(|failure| Failure::new(format!("the canary's server: {failure}")))?;
    let talk = Talk {
        client: &client,
        model: server.model(),
        version: &before.version,
    };
    let name = format!("a conversation with {}", before.version);
    let begun = course.step(&name, talk.begin()).await;
    server.stop().await;
    begun.map_err(|failure| {
        Failure::new(format!(
            "the version that is in use does not work here: {failure}"
        ))
        .next("`hostel doctor` says what this machine lacks; nothing was changed")
    })
}

async fn tried(
    talk: &Talk<'_>,
    place: &Place,
    earlier: Option<&str>,
    course: &mut Course<'_>,
) -> Result<(), Failure> {
    let session = course.step("start and turn", talk.first()).await?;
    course.step("tool", talk.tool(&session)).await?;
    course.step("stop", talk.end(&session)).await?;
    if let Some(earlier) = earlier {
        course
            .step("resume of the version before", talk.resume(earlier))
            .await?;
        course
            .step("stop after the resume", talk.end(earlier))
            .await?;
    }
    course.step("nothing is left", place.empty()).await
}

/// The steps so far.
struct Course<'a> {
    steps: Vec<Step>,
    told: Told<'a>,
}

impl Course<'_> {
    /// Does a step, tells it and times it. A failure carries the step's name.
    async fn step<T>(
        &mut self,
        name: &str,
        what: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        (self.told)(name);
        let started = Instant::now();
        let result = tokio::time::timeout(story::PATIENCE, what)
            .await
            .unwrap_or_else(|_| {
                let seconds = story::PATIENCE.as_secs();
                Err(Failure::new(format!("not done within {seconds} s")))
            });
        self.steps.push(Step {
            name: name.to_owned(),
            seconds: started.elapsed().as_secs_f64(),
        });
        result.map_err(|failure| Failure::new(format!("{name}: {failure}")))
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
