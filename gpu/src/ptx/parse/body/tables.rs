//! Lists of labels: `name: .branchtargets L1, L2;`.

use super::*;

impl<'a> Parser<'a> {
    /// The list after its own label; the labels in it are looked up when the body has been read.
    pub(super) fn branch_targets(
        &mut self,
        name: &'a str,
        at: At,
        function: &mut Function,
        body: &mut Body<'a>,
    ) -> Parsed<()> {
        self.bump()?;
        let table = function.tables.len() as u32;
        let mut labels = Vec::new();
        loop {
            let (label, at) = self.word("a label")?;
            body.targets.push((table, labels.len() as u32, body.scope, label, at));
            labels.push(0);
            // A target costs as much as a label.
            self.labels += 1;
            if self.labels > limits::LABELS_MAX {
                return Err(Refusal::limit(at, "labels in a module", limits::LABELS_MAX));
            }
            if !self.eat(b',')? {
                break;
            }
        }
        self.expect(b';')?;
        function.tables.push(labels);
        match body.tables.insert((body.scope, name), table) {
            None => Ok(()),
            Some(_) => Err(Refusal::twice(at, name)),
        }
    }

    pub(super) fn resolve_targets(&self, function: &mut Function, body: &Body<'a>) -> Parsed<()> {
        for (table, place, scope, name, at) in &body.targets {
            let found = body.walk(*scope, |scope| match body.labels.get(&(scope, *name)) {
                Some(Local::Label(n)) => Some(*n),
                _ => None,
            });
            let Some(label) = found else { return Err(Refusal::undeclared(*at, "label", name)) };
            function.tables[*table as usize][*place as usize] = label;
        }
        Ok(())
    }
}
