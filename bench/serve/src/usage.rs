//! What a server used: the process that was started, and all that it started.

use crate::Failure;
use measure::processor;
use std::{fs, time::Duration};

/// Of all processes of a server, so far.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub processor: Duration,
    pub context_switches: u64,
}

/// The process and its descendants.
pub fn family(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    let mut next = 0;
    while let Some(&parent) = all.get(next) {
        next += 1;
        let Ok(tasks) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}

/// What all of them used so far.
pub fn of(family: &[u32]) -> Result<Usage, Failure> {
    let mut usage = Usage::default();
    for process in family {
        usage.processor += processor::used_by(*process)?;
        for task in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let switches = status.lines().filter(|line| line.contains("ctxt_switches:"));
            let count = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
            usage.context_switches += switches.filter_map(count).sum::<u64>();
        }
    }
    Ok(usage)
}

/// Their own memory (RssAnon), in bytes.
pub fn memory(family: &[u32]) -> Result<u64, Failure> {
    let each = family.iter().map(|process| processor::anonymous_memory(*process));
    Ok(each.sum::<Result<u64, _>>()?)
}
