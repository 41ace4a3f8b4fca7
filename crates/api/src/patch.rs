//! The three states of a field in an update: absent keeps, null clears, a value replaces.

/// One field of an update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// Not in the request: keep what is stored.
    #[default]
    Absent,
    /// Null: clear it.
    Null,
    /// Replace it.
    Value(T),
}

impl<T> Patch<T> {
    /// The value, when there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Patch::Value(value) => Some(value),
            Patch::Absent | Patch::Null => None,
        }
    }

    /// Whether the request does not mention the field.
    pub fn is_absent(&self) -> bool {
        matches!(self, Patch::Absent)
    }

    /// Changes a field that null clears.
    pub fn apply(self, stored: &mut Option<T>) {
        match self {
            Patch::Absent => {}
            Patch::Null => *stored = None,
            Patch::Value(value) => *stored = Some(value),
        }
    }

    /// Changes a field that null resets to its default, such as a list.
    pub fn apply_or_default(self, stored: &mut T)
    where
        T: Default,
    {
        match self {
            Patch::Absent => {}
            Patch::Null => *stored = T::default(),
            Patch::Value(value) => *stored = value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_keeps_null_clears_a_value_replaces() {
        for (patch, after) in [
            (Patch::Absent, Some(1)),
            (Patch::Null, None),
            (Patch::Value(2), Some(2)),
        ] {
            let mut stored = Some(1);
            patch.apply(&mut stored);
            assert_eq!(stored, after);
        }
        let mut list = vec![1];
        Patch::Null.apply_or_default(&mut list);
        assert!(list.is_empty());
    }
}
