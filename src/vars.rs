//! The variables of an environ, all in one text: a request has two dozen, and two dozen pairs of strings would cost it
//! fifty allocations.

use std::fmt;

#[derive(Clone, Default)]
pub struct Vars {
    text: String,
    /// Where each name ends in the text, and where its value does; the next name starts there.
    ends: Vec<(usize, usize)>,
}

impl Vars {
    /// With room for so many, of so many bytes in all.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes),
            ends: Vec::with_capacity(count),
        }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.write(|text| text.push_str(name), |text| text.push_str(value));
    }

    /// Sets one whose name and value are appended to the text in place.
    pub fn write(&mut self, name: impl FnOnce(&mut String), value: impl FnOnce(&mut String)) {
        name(&mut self.text);
        let name_end = self.text.len();
        value(&mut self.text);
        self.ends.push((name_end, self.text.len()));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |(name_end, end)| {
            let pair = (&self.text[start..*name_end], &self.text[*name_end..*end]);
            start = *end;
            pair
        })
    }
}

impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl From<Vec<(String, String)>> for Vars {
    fn from(pairs: Vec<(String, String)>) -> Self {
        let bytes = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut vars = Self::with_capacity(pairs.len(), bytes);
        for (name, value) in &pairs {
            vars.set(name, value);
        }
        vars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_there_in_order() {
        let pairs = [("A", "1"), ("B", ""), ("", "x"), ("é", "\u{e9}")];
        let owned: Vec<_> = pairs.map(|(name, value)| (name.into(), value.into())).into();
        let vars = Vars::from(owned);
        assert_eq!(vars.iter().collect::<Vec<_>>(), pairs);
        assert_eq!(Vars::default().iter().count(), 0);
    }
}
