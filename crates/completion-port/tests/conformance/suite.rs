//! The cases, the backends that they run on, and the count at the end.

use crate::harness::{Rig, configuration};
use completion_port::{Backend, Configuration, ErrorKind, Means, OperationKind, Port, Support};
use libtest_mimic::Trial;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, PoisonError},
};

/// All that a port may be made with. Which of them work is found out by making one.
pub(crate) const BACKENDS: [Backend; 4] =
    [Backend::Iocp, Backend::IoUring, Backend::Readiness, Backend::Simulated];

/// A behaviour, and the limits that it is shown with.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    name: &'static str,
    run: fn(&mut Rig),
    adjust: fn(&mut Configuration),
    only: Option<Only>,
    /// Where the table says that this is unsupported, the case makes no sense.
    needs: Option<OperationKind>,
}

/// Where a case makes sense, and why not elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Only {
    pub(crate) backends: &'static [Backend],
    pub(crate) why: &'static str,
}

/// For cases that have a call of the pool wait for the case.
pub(crate) const ON_THREADS: Only = Only {
    backends: &[Backend::Iocp, Backend::IoUring, Backend::Readiness],
    why: "a simulated world runs calls within a wait, not on threads of their own",
};

impl Case {
    pub(crate) const fn new(name: &'static str, run: fn(&mut Rig)) -> Self {
        Self { name, run, adjust: |_| {}, only: None, needs: None }
    }

    /// With limits of its own.
    pub(crate) const fn with(self, adjust: fn(&mut Configuration)) -> Self {
        Self { adjust, ..self }
    }

    pub(crate) const fn only(self, only: Only) -> Self {
        Self { only: Some(only), ..self }
    }

    pub(crate) const fn needs(self, operation: OperationKind) -> Self {
        Self { needs: Some(operation), ..self }
    }

    fn makes_sense_on(self, backend: Backend) -> bool {
        let support = self.needs.and_then(|operation| operation.support(backend));
        self.only.is_none_or(|only| only.backends.contains(&backend))
            && support.is_none_or(|support| support.means != Means::Unsupported)
    }

    /// Runs the case, and checks afterwards that nothing was left in flight and every buffer came home.
    fn run(self, backend: Backend) {
        let mut configuration = configuration(backend);
        (self.adjust)(&mut configuration);
        let mut rig = Rig::new(configuration);
        (self.run)(&mut rig);
        rig.finish();
    }
}

/// A table of cases: `name`, `name with adjust` or `name; only ONLY`, where `name` is the function. `needs KIND;` before them all: only where
/// that operation is supported.
macro_rules! cases {
    (needs $kind:expr; $($case:ident $(with $adjust:expr)?),* $(,)?) => {
        &[$(crate::suite::Case::new(stringify!($case), $case).needs($kind) $(.with($adjust))?),*]
    };
    ($($case:ident $(with $adjust:expr)? $(; only $only:expr)?),* $(,)?) => {
        &[$(crate::suite::Case::new(stringify!($case), $case) $(.with($adjust))? $(.only($only))?),*]
    };
}

/// What ran where: passed and failed.
static COUNTS: Mutex<BTreeMap<&'static str, [usize; 2]>> = Mutex::new(BTreeMap::new());

fn count(backend: Backend, passed: bool) {
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    counts.entry(backend.name()).or_default()[usize::from(!passed)] += 1;
}

/// The backends that work here, of `wanted`.
///
/// # Panics
///
/// If one says anything else than that it is not to be had.
pub(crate) fn available() -> Vec<Backend> {
    let works = |backend: &Backend| match Port::new(configuration(*backend)) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::Unsupported => false,
        Err(error) => panic!("{} cannot make a port: {error}", backend.name()),
    };
    BACKENDS.into_iter().filter(works).collect()
}

/// Each case on each backend, named `backend::file::case`.
pub(crate) fn trials(tables: &[(&'static str, &'static [Case])], available: &[Backend]) -> Vec<Trial> {
    let mut trials = Vec::new();
    for &backend in available {
        for &(file, cases) in tables {
            for &case in cases {
                if !case.makes_sense_on(backend) {
                    continue;
                }
                trials.push(Trial::test(format!("{}::{file}::{}", backend.name(), case.name), move || {
                    let outcome = catch_unwind(AssertUnwindSafe(|| case.run(backend)));
                    count(backend, outcome.is_ok());
                    outcome.map_err(|panic| resume_unwind(panic))
                }));
            }
        }
    }
    trials
}

/// What the suite says at its end.
pub(crate) fn summary(tables: &[(&'static str, &'static [Case])], available: &[Backend]) -> String {
    let mut lines = vec!["cases that ran:".to_owned()];
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let reasons = Port::backends(None);
    for backend in BACKENDS {
        let name = backend.name();
        if available.contains(&backend) {
            let [passed, failed] = counts.get(name).copied().unwrap_or_default();
            lines.push(format!("  {name}: {} ({passed} passed, {failed} failed)", passed + failed));
        } else {
            let reason = reasons.iter().find_map(|line| line.strip_prefix(name));
            lines.push(format!("  {name}: none{}", reason.unwrap_or(": it is not in this build")));
        }
    }
    let mut unsupported: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (&kind, backend) in
        OperationKind::ALL.iter().flat_map(|kind| available.iter().map(move |&backend| (kind, backend)))
    {
        if let Some(Support { means: Means::Unsupported, how, .. }) = kind.support(backend) {
            unsupported.entry((kind.name(), how)).or_default().push(backend.name());
        }
    }
    if !unsupported.is_empty() {
        lines.push("operations that are unsupported here:".to_owned());
        lines.extend(
            unsupported
                .iter()
                .map(|((kind, why), backends)| format!("  {kind} on {}: {why}", backends.join(", "))),
        );
    }
    let mut restricted: Vec<String> = Vec::new();
    for (file, case) in tables.iter().flat_map(|(file, cases)| cases.iter().map(move |case| (file, case))) {
        if let Some(only) = case.only {
            let names: Vec<_> = only.backends.iter().map(|backend| backend.name()).collect();
            restricted.push(format!("  {file}::{} only on {}: {}", case.name, names.join(", "), only.why));
        }
    }
    if !restricted.is_empty() {
        lines.push("cases that are not for every backend:".to_owned());
        lines.append(&mut restricted);
    }
    lines.join("\n")
}
