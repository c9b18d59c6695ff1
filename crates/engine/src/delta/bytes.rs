//! The bytes of a delta. They hold its number as a clock of one entry, as they always did.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::VectorClock;
use crate::ids::{ClientId, Millis};

use super::{Changes, Delta, DeltaId};

#[derive(Serialize)]
struct Written<'a> {
    id: &'a DeltaId,
    client: &'a ClientId,
    clock: VectorClock,
    timestamp: Millis,
    changes: &'a Changes,
}

#[derive(Deserialize)]
struct Read {
    id: DeltaId,
    client: ClientId,
    clock: VectorClock,
    timestamp: Millis,
    changes: Changes,
}

impl Serialize for Delta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, client, timestamp, changes, .. } = self;
        let clock = self.clock();
        Written { id, client, clock, timestamp: *timestamp, changes }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Delta {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Read { id, client, clock, timestamp, changes } = Read::deserialize(from)?;
        let number = clock.get(client.as_str());
        Ok(Self { id, client, number, timestamp, changes })
    }
}
