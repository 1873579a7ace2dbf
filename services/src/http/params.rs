//! The parameters of a route's path, as places in the path.
//!
//! The rule of this file: a request with parameters allocates nothing for them. The names belong to
//! the route, the values are indices.

use std::sync::Arc;

/// Parameters of one route at most.
pub const PARAMS_MAX: usize = 8;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    names: Option<Arc<[String]>>,
    places: [(u32, u32); PARAMS_MAX],
    len: usize,
}

impl Params {
    /// Parameters of a route with these names.
    pub(super) fn new(names: &Arc<[String]>) -> Self {
        Self { names: Some(Arc::clone(names)), ..Self::default() }
    }

    /// Adds the value of the next name, which is a part of `path`.
    pub(super) fn push(&mut self, path: &str, value: &str) {
        // Both are slices of one text, so this is where the one begins in the other.
        let start = (value.as_ptr() as usize).wrapping_sub(path.as_ptr() as usize);
        if let Some(place) = self.places.get_mut(self.len)
            && path.get(start..start.saturating_add(value.len())) == Some(value)
        {
            *place = (start as u32, value.len() as u32);
            self.len += 1;
        }
    }

    pub(super) fn iter<'p>(&self, path: &'p str) -> impl Iterator<Item = (&str, &'p str)> {
        let names = self.names.as_deref().unwrap_or_default();
        let places = self.places.get(..self.len).unwrap_or_default();
        names.iter().zip(places).map(move |(name, &(start, len))| {
            let (start, len) = (start as usize, len as usize);
            (name.as_str(), path.get(start..start + len).unwrap_or_default())
        })
    }

    pub(super) fn get<'p>(&self, name: &str, path: &'p str) -> Option<&'p str> {
        self.iter(path).find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}
