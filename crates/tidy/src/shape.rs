//! Sizes, names and first lines.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Source;

/// Lines of a file: what one reads in one go.
pub const FILE_LINES_MAX: usize = 400;

/// Lines of a function: what one sees at once.
pub const FUNCTION_LINES_MAX: usize = 70;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "common", "misc", "mod"];

/// Whether a file is longer than [`FILE_LINES_MAX`]; how long it is then.
#[must_use]
pub fn too_long(source: &Source) -> Option<usize> {
    Some(source.text.lines().count()).filter(|lines| *lines > FILE_LINES_MAX)
}

/// Functions longer than [`FUNCTION_LINES_MAX`], with how long they are.
#[must_use]
pub fn long_functions(source: &Source) -> Vec<(String, usize)> {
    let mut found = Functions(Vec::new());
    found.visit_file(&source.syntax);
    found.0.retain(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    found.0
}

struct Functions(Vec<(String, usize)>);

impl Functions {
    fn note(&mut self, name: &syn::Ident, block: &syn::Block) {
        let (start, end) = (name.span().start(), block.span().end());
        self.0.push((name.to_string(), end.line - start.line + 1));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.note(&item.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// Whether the name of a file says nothing.
#[must_use]
pub fn has_empty_name(source: &Source) -> bool {
    let name = source.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs"));
    name.is_some_and(|name| EMPTY_NAMES.contains(&name))
}

/// Whether a file says in its first line what it is.
#[must_use]
pub fn has_first_line(source: &Source) -> bool {
    source.text.starts_with("//!")
}

/// Whether the docs of a folder say what it owns and what it must not know.
#[must_use]
pub fn says_its_limits(source: &Source) -> bool {
    let docs: String = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .collect::<Vec<_>>()
        .join(" ");
    docs.contains("Owns") && docs.contains("Must not know")
}
