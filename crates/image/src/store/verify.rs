//! Comparing stored content with its digests.

use std::collections::HashMap;
use std::io::Read;

use berth_spec::image::Descriptor;
use rustix::fs::{self as sys, AtFlags};
use rustix::io::Errno;

use super::collect::Reachable;
use super::index::{self, IndexError};
use super::read::ReadError;
use super::resolve::ResolveError;
use super::{LeaseError, Store};
use crate::digest::{Digest, Hasher};
use crate::error::{ErrorKind, Explain};
use crate::layer::pipeline::{self, PipeError};
use crate::platform;
use crate::progress::{Progress, Running, Step, StepKind};

/// How far a verification goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VerifyDepth {
    /// Every blob against its digest.
    #[default]
    Blobs,
    /// And every layer of this machine's platform, decompressed, against its diff ID.
    Contents,
}

/// What is wrong with content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// It is not there.
    Missing,
    /// It has another digest.
    Damaged {
        /// The digest that it has.
        actual: Digest,
    },
    /// It cannot be read.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// Decompressed, it is not what the configuration says.
    DiffId {
        /// As the configuration says.
        expected: Digest,
        /// As it is.
        actual: Digest,
    },
}

/// Something wrong with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The image's name, or its digest.
    pub image: String,
    /// Which content.
    pub digest: Digest,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many images were looked at.
    pub images: usize,
    /// How many blobs were hashed.
    pub blobs: usize,
    /// What is wrong; empty when all is well.
    pub problems: Vec<Problem>,
}

/// Why a verification cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The image is not found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The references cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store cannot be locked.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

impl Explain for VerifyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::Index(error) => error.kind(),
            Self::Lease(error) => error.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Resolve(error) => error.hints(),
            Self::Index(error) => error.hints(),
            Self::Lease(error) => error.hints(),
        }
    }
}

impl Store {
    /// Verifies one image, or without a name all of them. What is wrong is in the report. Damaged
    /// content is taken out of the store, so that loading the image again puts it right.
    pub fn verify(
        &self,
        name: Option<&str>,
        depth: VerifyDepth,
        progress: &dyn Progress,
    ) -> Result<VerifyReport, VerifyError> {
        let _lease = self.lease()?;
        let index = self.index()?;
        let entries = match name {
            Some(name) => vec![self.find(&index, name)?.descriptor],
            None => index.manifests,
        };
        let mut report = VerifyReport::default();
        let mut known = HashMap::new();
        for entry in &entries {
            report.images += 1;
            self.verify_entry(entry, depth, progress, &mut known, &mut report);
        }
        report.blobs = known.len();
        Ok(report)
    }

    fn verify_entry(
        &self,
        entry: &Descriptor,
        depth: VerifyDepth,
        progress: &dyn Progress,
        known: &mut HashMap<Digest, Option<ProblemKind>>,
        report: &mut VerifyReport,
    ) {
        let image = index::base_name(entry).unwrap_or(&entry.digest).to_owned();
        let mut reachable = Reachable::default();
        let walked = self.reach(entry, &mut reachable);
        let mut blobs: Vec<Digest> = reachable.blobs.into_iter().collect();
        blobs.sort();
        let expected = self.read_image(entry, None, &platform::host());
        // Other platforms' content need not be here; what is here is verified all the same.
        let needed: Vec<Digest> = match &expected {
            Ok(image) => std::iter::once(&image.manifest.config)
                .chain(&image.manifest.layers)
                .filter_map(|descriptor| descriptor.digest.parse().ok())
                .collect(),
            Err(_) => Vec::new(),
        };
        let problems = report.problems.len();
        for digest in blobs {
            let is_present = self.blob_size(&digest).is_some();
            if !is_present && !needed.contains(&digest) && Ok(digest) != entry.digest.parse() {
                continue;
            }
            let problem =
                known.entry(digest).or_insert_with(|| self.verify_blob(&digest, progress));
            if let Some(kind) = problem.clone() {
                report.problems.push(Problem { image: image.clone(), digest, kind });
            }
        }
        if report.problems.len() == problems
            && let Err(error) = walked
        {
            unreadable(entry, image.clone(), &error, report);
        }
        if depth == VerifyDepth::Contents
            && let Ok(found) = expected
            && let Ok(layers) = found.layers()
        {
            for layer in layers {
                let kind = self.verify_contents(&layer.digest, &layer.diff_id, progress);
                if let Some(kind) = kind {
                    report.problems.push(Problem {
                        image: image.clone(),
                        digest: layer.digest,
                        kind,
                    });
                }
            }
        }
    }

    fn verify_blob(&self, digest: &Digest, progress: &dyn Progress) -> Option<ProblemKind> {
        let Ok(mut file) = self.open_blob(digest) else { return Some(ProblemKind::Missing) };
        let subject = digest.to_string();
        let total = self.blob_size(digest);
        let step = Step { kind: StepKind::Verifying, subject: &subject, total };
        let running = Running::start(progress, step);
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    hasher.update(buffer.get(..read).unwrap_or_default());
                    running.advance(read as u64);
                }
                Err(error) => {
                    return Some(ProblemKind::Unreadable { reason: error.to_string() });
                }
            }
        }
        let actual = hasher.finish();
        if actual == *digest {
            return None;
        }
        match sys::unlinkat(&self.blobs, digest.hex(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => tracing::warn!(%digest, %error, "damaged content is still in the store"),
        }
        Some(ProblemKind::Damaged { actual })
    }

    fn verify_contents(
        &self,
        digest: &Digest,
        diff_id: &Digest,
        progress: &dyn Progress,
    ) -> Option<ProblemKind> {
        let file = self.open_blob(digest).ok()?;
        let subject = diff_id.to_string();
        let step = Step { kind: StepKind::Verifying, subject: &subject, total: None };
        let _running = Running::start(progress, step);
        match pipeline::run(file, |_| Ok::<_, std::convert::Infallible>(())) {
            Ok(piped) if piped.digest == *diff_id => None,
            Ok(piped) => Some(ProblemKind::DiffId { expected: *diff_id, actual: piped.digest }),
            Err(PipeError::Read(error)) => {
                Some(ProblemKind::Unreadable { reason: error.to_string() })
            }
            Err(PipeError::Write(never)) => match never {},
        }
    }
}

fn unreadable(entry: &Descriptor, image: String, error: &ReadError, report: &mut VerifyReport) {
    let Ok(digest) = entry.digest.parse() else { return };
    let kind = ProblemKind::Unreadable { reason: error.to_string() };
    report.problems.push(Problem { image, digest, kind });
}
