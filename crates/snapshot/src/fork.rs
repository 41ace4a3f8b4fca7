//! Forking: the packs that a snapshot needs get a second name in another line. Packs never
//! change, so nothing is shared that could.

use std::{fs, io, path::Path, sync::Arc};

use crate::{
    ForkError, SnapshotId, StoreError,
    collect::mark,
    index::Index,
    lines::{Lines, blocking},
    pack::PARTIAL,
};

pub async fn fork(
    lines: &Arc<Lines>,
    from: &str,
    id: SnapshotId,
    to: &str,
) -> Result<(), ForkError> {
    let (source, target) = (lines.line(from)?, lines.line(to)?);
    if from == to {
        return Ok(());
    }
    // In the order of their names, so that two forks in opposite directions do not wait for each
    // other behind somebody who wants a line alone.
    let (first, second) = if from < to { (from, to) } else { (to, from) };
    let first = lines.lock(first).read_owned().await;
    let second = lines.lock(second).read_owned().await;
    blocking(move || {
        let _shared = (first, second);
        let mut index = Index::load(&source)?;
        let needed = mark(&mut index, id)?;
        target.make()?;
        for (number, opened) in index.packs.iter().enumerate() {
            if needed.packs.contains(&number) {
                link(opened.pack.path(), &target.path)?;
            }
        }
        target.sync()?;
        Ok(())
    })
    .await
}

/// Gives a pack a name in another directory: a second one where that works, else a copy's.
fn link(pack: &Path, dir: &Path) -> Result<(), StoreError> {
    let name = pack.file_name().expect("a pack has a name");
    let to = dir.join(name);
    match fs::hard_link(pack, &to) {
        Ok(()) => return Ok(()),
        // Names are random: it is the same pack.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(_) => {}
    }
    let partial = to.with_extension(PARTIAL);
    let copied = fs::copy(pack, &partial)
        .and_then(|_| fs::File::open(&partial)?.sync_all())
        .and_then(|()| fs::rename(&partial, &to));
    copied.map_err(|error| StoreError::io("copying", pack, error))
}
