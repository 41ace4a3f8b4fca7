//! Where a proxy request wants to go, when it says so in one way only.

use http::Uri;

use crate::answer::Refusal;
use crate::head::{Head, bad};
use crate::policy::{ParseHostError, Target};

/// The target of a request, and whether it asks for a tunnel.
pub(super) fn of(head: &Head) -> Result<(Target, bool), Refusal> {
    if head.method == "CONNECT" {
        let target = Target::parse(&head.target, None).map_err(|error| malformed(&error))?;
        same_host(head, &target, None)?;
        return Ok((target, true));
    }
    if !head
        .target
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
    {
        let why = "it is neither CONNECT nor a request for a whole http:// address";
        return Err(bad(why));
    }
    let uri: Uri = head
        .target
        .parse()
        .map_err(|_| bad("its address is malformed"))?;
    let authority = uri
        .authority()
        .ok_or_else(|| bad("its address has no host"))?;
    if authority.as_str().contains('@') {
        return Err(bad("its address has credentials in it"));
    }
    let target = Target::parse(authority.as_str(), Some(80)).map_err(|error| malformed(&error))?;
    same_host(head, &target, Some(80))?;
    Ok((target, false))
}

/// A `host` header must name the host that is asked for. `CONNECT` clients often
/// leave its port out.
fn same_host(head: &Head, target: &Target, default_port: Option<u16>) -> Result<(), Refusal> {
    let Some(host) = &head.host else {
        return Ok(());
    };
    let said =
        Target::parse(host, default_port.or(Some(target.port))).map_err(|e| malformed(&e))?;
    if said == *target {
        return Ok(());
    }
    Err(bad(&format!(
        "it asks for {target}, but its host header says {said}"
    )))
}

fn malformed(error: &ParseHostError) -> Refusal {
    bad(&error.to_string())
}
