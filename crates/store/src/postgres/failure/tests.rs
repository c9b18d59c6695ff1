use super::*;

/// What each class of the appendix "PostgreSQL Error Codes" becomes. The rule: only classes 22, 23
/// and 54 are about the data of an edit; everything else is held and tried again.
const CLASSES: [(&str, &str, Meaning); 45] = [
    ("00", "successful completion", Store(Cause::Other)),
    ("01", "warning", Store(Cause::Other)),
    ("02", "no data", Store(Cause::Other)),
    ("03", "SQL statement not yet complete", Store(Cause::Other)),
    ("08", "connection exception", Store(Cause::Unreachable)),
    ("09", "triggered action exception", Store(Cause::Other)),
    ("0A", "feature not supported", Store(Cause::SchemaMissing)),
    ("0B", "invalid transaction initiation", Store(Cause::Other)),
    ("0F", "locator exception", Store(Cause::Other)),
    ("0L", "invalid grantor", Store(Cause::PermissionMissing)),
    ("0P", "invalid role specification", Store(Cause::PermissionMissing)),
    ("0Z", "diagnostics exception", Store(Cause::Other)),
    ("10", "XQuery error", Store(Cause::Other)),
    ("20", "case not found", Store(Cause::Other)),
    ("21", "cardinality violation", Store(Cause::Other)),
    ("22", "data exception", Edit),
    ("23", "integrity constraint violation", Edit),
    ("24", "invalid cursor state", Store(Cause::Other)),
    ("25", "invalid transaction state", Store(Cause::Other)),
    ("26", "invalid SQL statement name", Store(Cause::Interrupted)),
    ("27", "triggered data change violation", Store(Cause::Other)),
    ("28", "invalid authorization specification", Store(Cause::CredentialsRefused)),
    ("2B", "dependent privilege descriptors still exist", Store(Cause::PermissionMissing)),
    ("2D", "invalid transaction termination", Store(Cause::Other)),
    ("2F", "SQL routine exception", Store(Cause::Other)),
    ("34", "invalid cursor name", Store(Cause::Other)),
    ("38", "external routine exception", Store(Cause::Other)),
    ("39", "external routine invocation exception", Store(Cause::Other)),
    ("3B", "savepoint exception", Store(Cause::Other)),
    ("3D", "invalid catalog name", Store(Cause::DatabaseMissing)),
    ("3F", "invalid schema name", Store(Cause::SchemaMissing)),
    ("40", "transaction rollback", Store(Cause::Conflict)),
    ("42", "syntax error or access rule violation", Store(Cause::SchemaMissing)),
    ("44", "WITH CHECK OPTION violation", Store(Cause::Other)),
    ("53", "insufficient resources", Store(Cause::Overloaded)),
    ("54", "program limit exceeded", Edit),
    ("55", "object not in prerequisite state", Store(Cause::Other)),
    ("57", "operator intervention", Store(Cause::Interrupted)),
    ("58", "system error", Store(Cause::DiskFailing)),
    ("72", "snapshot failure", Store(Cause::Conflict)),
    ("F0", "configuration file error", Store(Cause::Misconfigured)),
    ("HV", "foreign data wrapper error", Store(Cause::Other)),
    ("P0", "PL/pgSQL error", Store(Cause::Other)),
    ("XX", "internal error", Store(Cause::Other)),
    ("ZZ", "a class of a later version", Store(Cause::Other)),
];

#[test]
fn each_class_says_whether_the_edit_or_the_store_is_at_fault() {
    for (class, name, expected) in CLASSES {
        assert_eq!(meaning(&format!("{class}000"), None, false), expected, "{class} {name}");
        let is_known = MEANINGS.iter().any(|(start, _)| *start == class);
        assert_eq!(is_known, class != "ZZ", "{class} {name}");
    }
    for (start, _) in MEANINGS {
        assert!(CLASSES.iter().any(|(class, ..)| start.starts_with(class)), "{start}");
    }
}

#[test]
fn some_codes_say_more_than_their_class() {
    for (code, name, expected) in [
        ("22021", "character not in repertoire", Edit),
        ("22P05", "untranslatable character", Edit),
        ("23505", "unique violation", Edit),
        ("23514", "check violation", Edit),
        ("23502", "not null violation", Store(Cause::SchemaMissing)),
        ("25006", "read-only SQL transaction", Store(Cause::ReadOnly)),
        ("25P03", "idle in transaction session timeout", Store(Cause::Interrupted)),
        ("28P01", "invalid password", Store(Cause::CredentialsRefused)),
        ("40P01", "deadlock detected", Store(Cause::Conflict)),
        ("42501", "insufficient privilege", Store(Cause::PermissionMissing)),
        ("42P01", "undefined table", Store(Cause::SchemaMissing)),
        ("53100", "disk full", Store(Cause::DiskFull)),
        ("53300", "too many connections", Store(Cause::Overloaded)),
        ("54000", "program limit exceeded", Edit),
        ("55P03", "lock not available", Store(Cause::Conflict)),
        ("57014", "query canceled", Store(Cause::Interrupted)),
        ("57P03", "cannot connect now", Store(Cause::Interrupted)),
        ("57P04", "database dropped", Store(Cause::DatabaseMissing)),
        ("58030", "IO error", Store(Cause::DiskFailing)),
        ("XX001", "data corrupted", Store(Cause::Damaged)),
        ("XX002", "index corrupted", Store(Cause::Damaged)),
    ] {
        assert_eq!(meaning(code, None, false), expected, "{code} {name}");
    }
}

#[test]
fn what_no_edit_can_help_is_told_by_where_it_comes_from() {
    for (what, code, source, cause) in [
        ("a quota", "XX000", "md.c", Cause::DiskFailing),
        ("a read-only file system", "42501", "md.c", Cause::DiskFailing),
        ("a damaged file", "XX001", "md.c", Cause::Damaged),
        ("a missing privilege", "42501", "aclchk.c", Cause::PermissionMissing),
        ("no partition for the row", "23514", "execPartition.c", Cause::SchemaMissing),
        ("no transaction numbers left", "54000", "varsup.c", Cause::ReadOnly),
    ] {
        assert_eq!(meaning(code, Some(source), false), Store(cause), "{what}");
    }
}

#[test]
fn a_server_that_ends_itself_refuses_no_edit() {
    assert_eq!(meaning("22000", None, true), Store(Cause::Interrupted));
    assert_eq!(meaning("XX000", None, true), Store(Cause::Interrupted));
    assert_eq!(meaning("53100", None, true), Store(Cause::DiskFull));
}
