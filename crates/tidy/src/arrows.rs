//! Which file imports which, within one crate.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::Source;

/// The files of one crate by module path (`rooms::hub`; the root is empty), each with the modules
/// that it names.
#[derive(Debug, Default)]
pub struct Arrows(BTreeMap<String, BTreeSet<String>>);

impl Arrows {
    /// The arrows between the files below `folder`, such as `crates/server/src/`. Tests inside a
    /// file count: they too are read as part of it.
    #[must_use]
    pub fn of(folder: &str, sources: &[Source]) -> Self {
        let module_of = |source: &Source| {
            let name = source.path.strip_prefix(folder)?.strip_suffix(".rs")?;
            let name = if name == "lib" || name == "main" { "" } else { name };
            Some(name.replace('/', "::"))
        };
        let modules: BTreeSet<_> = sources.iter().filter_map(module_of).collect();
        let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for source in sources {
            let Some(module) = module_of(source) else { continue };
            let mut paths = Paths { inside: path_of(&module), found: Vec::new() };
            paths.visit_file(&source.syntax);
            let named = paths.found.iter().filter_map(|path| deepest(path, &modules));
            let others = named.filter(|named| *named != module && !named.is_empty());
            arrows.entry(module.clone()).or_default().extend(others);
        }
        Self(arrows)
    }

    /// Arrows from a folder to one that stands before it in `order`, or beside it, as
    /// `from -> to`. Each entry of `order` is a group of folders or files that must not know each
    /// other, from the one that knows most to those that everybody may know.
    #[must_use]
    pub fn against(&self, order: &[&[&str]]) -> Vec<String> {
        let place = |module: &str| {
            let top = module.split("::").next().unwrap_or_default();
            order.iter().position(|group| group.contains(&top)).map(|at| (at, top.to_owned()))
        };
        let mut found = Vec::new();
        for (from, targets) in &self.0 {
            for to in targets {
                let (Some((here, one)), Some((there, other))) = (place(from), place(to)) else {
                    let unknown = if place(from).is_none() { from } else { to };
                    if !unknown.is_empty() {
                        found.push(format!("{unknown} has no place in the order"));
                    }
                    continue;
                };
                if one != other && there <= here {
                    found.push(format!("{from} -> {to}"));
                }
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Files that import each other in a circle, largest first.
    #[must_use]
    pub fn circles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<&String, BTreeSet<&String>> =
            self.0.keys().map(|module| (module, self.reachable_from(module))).collect();
        let mut circles: Vec<Vec<String>> = Vec::new();
        for module in self.0.keys() {
            let circle: Vec<String> = self
                .0
                .keys()
                .filter(|other| reached[module].contains(other) && reached[other].contains(module))
                .cloned()
                .collect();
            if circle.len() > 1 && !circles.contains(&circle) {
                circles.push(circle);
            }
        }
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    fn reachable_from<'a>(&'a self, module: &'a String) -> BTreeSet<&'a String> {
        let mut reached = BTreeSet::new();
        let mut next = vec![module];
        while let Some(module) = next.pop() {
            for target in self.0.get(module).into_iter().flatten() {
                if reached.insert(target) {
                    next.push(target);
                }
            }
        }
        reached
    }
}

fn path_of(module: &str) -> Vec<String> {
    module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The file that a path leads to: its longest beginning that is a module.
fn deepest(path: &[String], modules: &BTreeSet<String>) -> Option<String> {
    (0..=path.len()).rev().map(|length| path[..length].join("::")).find(|it| modules.contains(it))
}

/// All paths that begin with `crate`, `self` or `super`, made absolute.
struct Paths {
    inside: Vec<String>,
    found: Vec<Vec<String>>,
}

impl Paths {
    fn note(&mut self, parts: &[String]) {
        let mut path = match parts.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.inside.clone(),
            _ => return,
        };
        for part in parts {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(path.pop()),
                name => path.push(name.to_owned()),
            }
        }
        self.found.push(path);
    }

    fn note_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| {
            let mut parts = before.to_vec();
            parts.push(name.to_string());
            parts
        };
        match tree {
            syn::UseTree::Path(path) => self.note_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.note(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_tree(before, tree));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        self.note(&parts);
        visit::visit_path(self, path);
    }

    /// `pub(super)` names who may look, and looks at nobody.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.inside.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.inside.pop();
    }
}
