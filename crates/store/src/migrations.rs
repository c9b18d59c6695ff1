//! Which changes of the schema are still to be made, and whether they may be.
//!
//! Pure, so that every back end with a schema decides in the same way; applying them and the lock
//! around it are the back end's own.

use std::fmt::Write as _;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::error::{Cause, OpenError, StoreError};

/// One embedded file `NNN_name.sql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The file's name without its extension.
    pub version: &'static str,
    /// What it does, in the back end's dialect; runs in one transaction.
    pub sql: &'static str,
}

/// A migration that a database has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    /// Its name.
    pub version: String,
    /// The checksum of the file as it was then.
    pub checksum: String,
    /// When.
    pub applied_at: SystemTime,
    /// See [`Migration::oldest_program`]; programs before that was said have left it out.
    pub oldest_program: Option<u32>,
}

/// What a database has and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Already there, in order.
    pub applied: Vec<AppliedMigration>,
    /// Still to come, in order.
    pub pending: Vec<Migration>,
}

impl MigrationStatus {
    /// Fails when something is missing.
    ///
    /// # Errors
    /// [`OpenError::Schema`], which says what to run.
    pub fn check(&self) -> Result<(), OpenError> {
        match self.pending.first() {
            None => Ok(()),
            Some(missing) => Err(OpenError::Schema(format!(
                "the schema lacks migration {}, and this program is told to check it only: run \
                 `synckit-server migrate`, with a role that may change the tables",
                missing.version
            ))),
        }
    }
}

/// Begins the line of a file that says which programs can live with it.
const OLDEST_PROGRAM: &str = "-- Oldest program: ";

impl Migration {
    /// The oldest program that can live with it, by the number of the newest migration that this
    /// program knows. The file says it in a line `-- Oldest program: NNN`; without that, only those
    /// that know the migration itself can.
    #[must_use]
    pub fn oldest_program(&self) -> u32 {
        let said = self.sql.lines().find_map(|line| line.strip_prefix(OLDEST_PROGRAM));
        let said = said.and_then(|number| number.trim().parse().ok());
        said.or(self.number()).unwrap_or(u32::MAX)
    }

    /// SHA-256 of the file, in hex.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(self.sql.as_bytes()) {
            // Writing into a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// What hindered it. A database that is not available says nothing against the migration.
    pub(crate) fn failed(&self, error: StoreError) -> OpenError {
        let advice = match error.cause() {
            Some(Cause::PermissionMissing) => {
                ": run `synckit-server migrate` with a role that may change the tables"
            }
            _ => "",
        };
        match OpenError::from(error) {
            error @ OpenError::Unavailable(_) => error,
            OpenError::Configuration(text) | OpenError::Schema(text) => {
                OpenError::Schema(format!("migration {}: {text}{advice}", self.version))
            }
        }
    }

    fn number(&self) -> Option<u32> {
        let (number, name) = self.version.split_once('_')?;
        if number.len() == 3 && !name.is_empty() { number.parse().ok() } else { None }
    }
}

/// The migrations out of `known` that a database lacks which has seen `applied`.
///
/// # Errors
/// [`OpenError::Schema`], which names the migration, when the database is not one that the
/// missing ones could be applied to.
pub fn pending(
    known: &[Migration],
    applied: &[AppliedMigration],
) -> Result<Vec<Migration>, OpenError> {
    for (number, migration) in (1..).zip(known) {
        if migration.number() != Some(number) {
            return Err(OpenError::Schema(format!(
                "migration {} of this program is not number {:03}: the files have a gap",
                migration.version, number
            )));
        }
    }
    for row in applied {
        match known.iter().find(|migration| migration.version == row.version) {
            // A newer program made it, and says that this one can live with it.
            None if row.oldest_program.is_some_and(|oldest| oldest as usize <= known.len()) => {}
            None => {
                return Err(OpenError::Schema(format!(
                    "the database has migration {}, which this program does not know: it was \
                     made by a newer program; upgrade this one",
                    row.version
                )));
            }
            Some(migration) if migration.checksum() != row.checksum => {
                return Err(OpenError::Schema(format!(
                    "migration {} was changed after it had been applied: add a new one instead",
                    row.version
                )));
            }
            Some(_) => {}
        }
    }
    let is_applied =
        |migration: &Migration| applied.iter().any(|row| row.version == migration.version);
    let first_pending = known.iter().take_while(|migration| is_applied(migration)).count();
    let (_, pending) = known.split_at(first_pending);
    match (pending.first(), pending.iter().find(|migration| is_applied(migration))) {
        (Some(missing), Some(later)) => Err(OpenError::Schema(format!(
            "the database has migration {} but not {}, which comes before it",
            later.version, missing.version
        ))),
        _ => Ok(pending.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration { version: "001_first", sql: "1" };
    const SECOND: Migration = Migration { version: "002_second", sql: "2" };
    const THIRD: Migration = Migration { version: "003_third", sql: "3" };

    fn seen(migration: Migration) -> AppliedMigration {
        AppliedMigration {
            version: migration.version.to_owned(),
            checksum: migration.checksum(),
            applied_at: SystemTime::UNIX_EPOCH,
            oldest_program: Some(migration.oldest_program()),
        }
    }

    fn refusal(known: &[Migration], applied: &[AppliedMigration]) -> String {
        pending(known, applied).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_applied_is_pending_in_order() {
        let known = [FIRST, SECOND, THIRD];
        assert_eq!(pending(&known, &[]).unwrap(), known);
        assert_eq!(pending(&known, &[seen(FIRST)]).unwrap(), [SECOND, THIRD]);
        assert_eq!(pending(&known, &known.map(seen)).unwrap(), []);
    }

    #[test]
    fn a_gap_is_refused_by_name() {
        let text = refusal(&[FIRST, SECOND, THIRD], &[seen(FIRST), seen(THIRD)]);
        assert!(text.contains("003_third but not 002_second"), "{text}");
        let text = refusal(&[FIRST, THIRD], &[]);
        assert!(text.contains("003_third of this program is not number 002"), "{text}");
    }

    #[test]
    fn an_edited_file_is_refused_by_name() {
        let edited = Migration { sql: "1, edited", ..FIRST };
        let text = refusal(&[edited], &[seen(FIRST)]);
        assert!(text.contains("001_first was changed"), "{text}");
    }

    #[test]
    fn a_newer_schema_is_refused_by_name() {
        let text = refusal(&[FIRST], &[seen(FIRST), seen(SECOND)]);
        assert!(text.contains("002_second, which this program does not know"), "{text}");
    }

    #[test]
    fn a_newer_schema_that_says_it_can_be_lived_with_is_taken() {
        let sql = "-- A table more.\n-- Oldest program: 001\nCREATE TABLE more ()";
        let friendly = Migration { sql, ..SECOND };
        assert_eq!(friendly.oldest_program(), 1);
        assert_eq!(SECOND.oldest_program(), 2);
        assert_eq!(pending(&[FIRST], &[seen(FIRST), seen(friendly)]).unwrap(), []);
        let text = refusal(&[FIRST], &[seen(FIRST), seen(friendly), seen(THIRD)]);
        assert!(text.contains("003_third, which this program does not know"), "{text}");
        let before = AppliedMigration { oldest_program: None, ..seen(friendly) };
        let text = refusal(&[FIRST], &[seen(FIRST), before]);
        assert!(text.contains("upgrade this one"), "{text}");
    }

    #[test]
    fn what_is_missing_fails_a_check_and_says_what_to_run() {
        let status = MigrationStatus { applied: vec![], pending: vec![FIRST] };
        let text = status.check().unwrap_err().to_string();
        assert!(text.contains("001_first") && text.contains("synckit-server migrate"), "{text}");
    }

    #[test]
    fn file_names_follow_the_pattern() {
        for version in ["1_x", "001", "001_", "x01_x", "0001_x", "002_x"] {
            assert!(pending(&[Migration { version, sql: "" }], &[]).is_err(), "{version}");
        }
    }
}
