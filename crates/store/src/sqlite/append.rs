//! An append on its way to the writer. What can be made ready before is made ready by the caller's
//! thread, since there is only one that writes.

use synckit_engine::ids::DocumentId;

use crate::contract::{Append, Appended, check_batch};
use crate::error::StoreError;

use super::group::Group;
use super::row::EncodedDelta;
use super::writer::Work;

/// What a delta takes in the file besides its data, about: ids, clock, and its places in the
/// indexes.
const DELTA_OVERHEAD_BYTES: usize = 200;

pub(super) struct AppendBatch {
    parts: Vec<(DocumentId, Vec<EncodedDelta>)>,
    bytes: usize,
}

impl AppendBatch {
    pub(super) fn encode(batch: &[Append]) -> Result<Self, StoreError> {
        check_batch(batch)?;
        let mut parts = Vec::with_capacity(batch.len());
        let mut bytes = 0;
        for part in batch {
            let deltas: Vec<_> =
                part.deltas.iter().map(EncodedDelta::encode).collect::<Result<_, _>>()?;
            bytes +=
                deltas.iter().map(|delta| delta.data.len() + DELTA_OVERHEAD_BYTES).sum::<usize>();
            parts.push((part.document.clone(), deltas));
        }
        Ok(Self { parts, bytes })
    }
}

impl Work for AppendBatch {
    type Output = Vec<Appended>;

    fn run(&self, group: &mut Group<'_>) -> Result<Vec<Appended>, StoreError> {
        let mut answers = Vec::with_capacity(self.parts.len());
        for (document, deltas) in &self.parts {
            let (epoch, deliveries) = group.append(document, deltas)?;
            answers.push(Appended { epoch, deliveries });
        }
        Ok(answers)
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}
