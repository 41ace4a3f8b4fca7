//! What a process inside can see of itself and around it, as a report that is kept: a change of any
//! wall is a change of a file that somebody reads. `HOSTEL_TEST_KEEP=1` writes the files anew.

use std::fs;

use super::{cell::Cell, host::Host};

async fn is_as_kept(level: &str) {
    let Some(cell) = Cell::new(level).await else {
        return;
    };
    let host = Host::now();
    let namespaces = fs::read_dir("/proc/self/ns").unwrap().flatten();
    let namespaces: Vec<String> = namespaces
        .filter_map(|entry| {
            let here = fs::read_link(entry.path()).ok()?;
            Some(format!(
                "{}={}",
                entry.file_name().to_str()?,
                here.display()
            ))
        })
        .collect();
    let script = format!(
        "HOST_NAMESPACES='{}'\n{}",
        namespaces.join(","),
        include_str!("introspection.sh")
    );
    let report = cell.run(&["/bin/bash", "-c", &script]).await;
    assert!(report.exit.success(), "{}", report.text);
    // Its own directory is the fourth of this program.
    let open = cell.run(&["/bin/ls", "/proc/self/fd"]).await.text;
    let report = format!(
        "{}descriptors: {}\n",
        report.text,
        open.trim().replace('\n', " ")
    );
    cell.end(&host).await;
    let path = format!(
        "{}/tests/oci/escapes/introspection/{level}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    if std::env::var_os("HOSTEL_TEST_KEEP").is_some() {
        fs::write(&path, &report).unwrap();
    }
    let mut kept = fs::read_to_string(&path).unwrap_or_default();
    if !std::path::Path::new("/dev/net/tun").exists() {
        kept = kept.replace("lo nowhere", "lo");
    }
    let differ: Vec<String> = kept
        .lines()
        .zip(report.lines())
        .filter(|(kept, seen)| kept != seen)
        .map(|(kept, seen)| format!("- {kept}\n+ {seen}"))
        .collect();
    assert!(
        kept == report,
        "{level} is not as kept:\n{}\n\n{}",
        differ.join("\n"),
        report
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_sees_what_is_kept_at_level_process() {
    is_as_kept("process").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_sees_what_is_kept_at_level_container() {
    is_as_kept("container").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_sees_what_is_kept_at_level_gvisor() {
    is_as_kept("gvisor").await;
}
