//! A set of JSON values. Of the operations on a value the newest decides, by the same key that
//! decides between writes of a field, so that nodes agree whatever order they hear them in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::delta::{SetChange, WriteKey};
use crate::ids::Millis;
use crate::json::JsonText;

/// The newest operation on one value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Element {
    key: WriteKey,
    is_in: bool,
}

/// Values by the letter of their JSON, with what was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    elements: BTreeMap<JsonText, Element>,
    /// The newest `clear`: what is older than it is out.
    cleared: Option<WriteKey>,
    /// When the newest operation that changed anything was made.
    time: Millis,
}

impl Set {
    /// Applies one operation; whether it changed anything.
    pub(super) fn apply(&mut self, change: &SetChange, key: &WriteKey) -> bool {
        if self.cleared.as_ref().is_some_and(|cleared| key <= cleared) {
            return false;
        }
        let is_changed = match change {
            SetChange::Add(value) => self.put(value, key, true),
            SetChange::Remove(value) => self.put(value, key, false),
            SetChange::Clear => {
                self.elements.retain(|_, element| element.key > *key);
                self.cleared = Some(key.clone());
                true
            }
        };
        if is_changed {
            self.time = self.time.max(key.timestamp);
        }
        is_changed
    }

    fn put(&mut self, value: &JsonText, key: &WriteKey, is_in: bool) -> bool {
        let element = Element { key: key.clone(), is_in };
        match self.elements.get_mut(value) {
            // One client, one edit: an addition and a removal at once are an addition.
            Some(held) if (&held.key, held.is_in) >= (key, is_in) => false,
            Some(held) => {
                *held = element;
                true
            }
            None => {
                self.elements.insert(value.clone(), element);
                true
            }
        }
    }

    /// Forgets removals older than `before`; how many.
    pub(super) fn forget(&mut self, before: Millis) -> usize {
        let known = self.elements.len();
        self.elements.retain(|_, element| element.is_in || element.key.timestamp >= before);
        known - self.elements.len()
    }

    /// When the newest operation that changed anything was made, in ms since 1970.
    #[must_use]
    pub fn time(&self) -> Millis {
        self.time
    }

    /// Whether the value is in the set.
    #[must_use]
    pub fn contains(&self, value: &JsonText) -> bool {
        self.elements.get(value).is_some_and(|element| element.is_in)
    }

    /// The elements, in the order of their JSON.
    pub fn elements(&self) -> impl Iterator<Item = &JsonText> {
        self.elements.iter().filter(|(_, element)| element.is_in).map(|(value, _)| value)
    }

    /// Whether it has no element and never had one.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.elements.is_empty() && self.cleared.is_none()
    }

    /// The operations that make this set, each with its key.
    pub fn operations(&self) -> impl Iterator<Item = (SetChange, &WriteKey)> {
        let cleared = self.cleared.iter().map(|key| (SetChange::Clear, key));
        cleared.chain(self.elements.iter().map(|(value, Element { key, is_in })| {
            let change = if *is_in { SetChange::Add } else { SetChange::Remove };
            (change(value.clone()), key)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::EditNumber;
    use crate::ids::ClientId;

    fn value(text: &str) -> JsonText {
        JsonText::parse(text).unwrap()
    }

    fn at(timestamp: Millis) -> WriteKey {
        WriteKey { timestamp, number: EditNumber(1), client: ClientId::new("ann").unwrap() }
    }

    fn elements(set: &Set) -> Vec<&str> {
        set.elements().map(JsonText::as_str).collect()
    }

    #[test]
    fn the_newest_operation_on_a_value_decides() {
        let mut set = Set::default();
        assert!(set.apply(&SetChange::Add(value("1")), &at(5)));
        assert!(!set.apply(&SetChange::Remove(value("1")), &at(4)));
        assert!(!set.apply(&SetChange::Add(value("1")), &at(5)), "a repeat");
        assert!(set.apply(&SetChange::Remove(value("1")), &at(6)));
        assert!(set.apply(&SetChange::Add(value("\"1\"")), &at(1)));
        assert_eq!(elements(&set), ["\"1\""]);
        assert_eq!(set.forget(7), 1);
        assert_eq!(elements(&set), ["\"1\""]);
    }

    #[test]
    fn a_clear_takes_out_what_is_older() {
        let mut set = Set::default();
        for (text, time) in [("1", 1), ("2", 9)] {
            set.apply(&SetChange::Add(value(text)), &at(time));
        }
        assert!(set.apply(&SetChange::Clear, &at(5)));
        assert!(!set.apply(&SetChange::Add(value("3")), &at(5)));
        assert!(!set.apply(&SetChange::Clear, &at(4)));
        assert_eq!(elements(&set), ["2"]);
    }

    #[test]
    fn its_operations_make_the_set_again() {
        let mut set = Set::default();
        for (change, time) in [
            (SetChange::Add(value("1")), 1),
            (SetChange::Clear, 2),
            (SetChange::Add(value("2")), 3),
            (SetChange::Remove(value("3")), 4),
        ] {
            set.apply(&change, &at(time));
        }
        let mut again = Set::default();
        for (change, key) in set.operations() {
            again.apply(&change, key);
        }
        assert_eq!(again, set);
    }
}
