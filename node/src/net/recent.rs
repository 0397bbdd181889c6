//! A map that remembers the most recently touched keys only, so that strangers cannot make it grow.

use std::collections::BTreeMap;

/// At most `capacity` entries; the one untouched for longest goes first.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    capacity: usize,
    stamp: u64,
    entries: BTreeMap<K, (u64, V)>,
    by_age: BTreeMap<u64, K>,
}

impl<K: Ord + Clone, V> Recent<K, V> {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, stamp: 0, entries: BTreeMap::new(), by_age: BTreeMap::new() }
    }

    /// Sets a value, and makes its key the youngest.
    pub fn put(&mut self, key: K, value: V) {
        self.stamp += 1;
        if let Some((old, _)) = self.entries.insert(key.clone(), (self.stamp, value)) {
            self.by_age.remove(&old);
        }
        self.by_age.insert(self.stamp, key);
        if self.entries.len() > self.capacity
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.entries.remove(&oldest);
        }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (stamp, value) = self.entries.remove(key)?;
        self.by_age.remove(&stamp);
        Some(value)
    }

    /// In the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut recent = Recent::new(3);
        for key in 0..3 {
            recent.put(key, key * 10);
        }
        recent.put(0, 1);
        recent.put(9, 90);
        assert_eq!(recent.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>(), [(0, 1), (2, 20), (9, 90)]);
        assert_eq!(recent.remove(&2), Some(20));
        assert_eq!(recent.get(&2), None);
        (0..1000).for_each(|key| recent.put(key, key));
        assert_eq!(recent.iter().count(), 3);
        assert_eq!(recent.by_age.len(), 3);
    }
}
