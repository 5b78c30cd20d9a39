//! What in a source a mutant changes, found in its syntax tree.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::{bytes, start};
use crate::list::{Genre, Mutant, Place};

/// A place in the source where something else can stand.
#[derive(Debug)]
pub struct Site {
    /// The bytes that are replaced; empty where something is inserted.
    pub range: Range<usize>,
    /// What stands there.
    pub shape: Shape,
}

/// What stands at a site.
#[derive(Debug)]
pub enum Shape {
    /// An expression, or one of these.
    Alternatives(Vec<(u32, String)>),
    /// Before a body: a return of one of these.
    Returns(Vec<(u32, String)>),
    /// Behind an arm's pattern: whether it is gone.
    Gone(u32),
    /// A `const` that goes, since switches are read at run time.
    NotConst,
}

/// Finds sites.
pub struct Finder<'a> {
    source: &'a str,
    by_place: HashMap<(Genre, Place), Vec<&'a Mutant>>,
    keep_const: &'a [String],
    /// Whether sites may stand where only constants may.
    everywhere: bool,
    sites: Vec<Site>,
    left_out: Vec<u32>,
    refused: Vec<u32>,
    consts: HashMap<String, Vec<u32>>,
    /// The `const` functions that the visit is in, and how many constants.
    inside: Vec<(String, bool)>,
    constants: u32,
}

type Found = (Vec<Site>, Vec<u32>, Vec<u32>, HashMap<String, Vec<u32>>);

impl<'a> Finder<'a> {
    /// For these mutants, in a source in which functions lose their `const`.
    pub fn new(source: &'a str, mutants: &[&'a Mutant], keep_const: &'a [String]) -> Self {
        let mut by_place: HashMap<_, Vec<&Mutant>> = HashMap::new();
        for mutant in mutants {
            by_place.entry((mutant.genre, mutant.start)).or_default().push(mutant);
        }
        Self {
            source,
            by_place,
            keep_const,
            everywhere: false,
            sites: Vec::new(),
            left_out: Vec::new(),
            refused: Vec::new(),
            consts: HashMap::new(),
            inside: Vec::new(),
            constants: 0,
        }
    }

    /// For a mutant that stands there without a switch: anywhere.
    pub fn alone(source: &'a str, mutants: &[&'a Mutant]) -> Self {
        Self { everywhere: true, ..Self::new(source, mutants, &[]) }
    }

    /// Sites, mutants left out, mutants refused, functions that lost their `const`.
    pub fn found(self) -> Found {
        (self.sites, self.left_out, self.refused, self.consts)
    }

    fn text(&self, range: Range<usize>) -> &'a str {
        self.source.get(range).unwrap_or_default()
    }

    /// The mutants of this genre here that can be switched; the others are left out.
    fn mutants(&mut self, genre: Genre, place: Place) -> Vec<&'a Mutant> {
        let found = self.by_place.get(&(genre, place)).cloned().unwrap_or_default();
        if found.is_empty() || self.everywhere {
            return found;
        }
        let numbers = found.iter().map(|mutant| mutant.number);
        if self.constants > 0 || self.inside.iter().any(|(_, stays)| *stays) {
            self.left_out.extend(numbers);
            return Vec::new();
        }
        for (name, _) in &self.inside {
            self.consts.entry(name.clone()).or_default().extend(numbers.clone());
        }
        found
    }

    fn push(&mut self, range: Range<usize>, shape: Shape) {
        self.sites.push(Site { range, shape });
    }

    /// A function: its signature, its body, and what is within.
    fn function(
        &mut self,
        signature: &syn::Signature,
        block: &syn::Block,
        within: impl FnOnce(&mut Self),
    ) {
        let name = signature.ident.to_string();
        if let Some(constant) = &signature.constness {
            let stays = self.keep_const.contains(&name);
            if !stays && !self.everywhere {
                self.push(constant.span.byte_range(), Shape::NotConst);
            }
            self.inside.push((name, stays));
        }
        if let Some(first) = block.stmts.first() {
            let mutants = self.mutants(Genre::FnValue, start(first.span()));
            let (woven, alone): (Vec<_>, Vec<_>) = mutants
                .into_iter()
                .partition(|mutant| self.everywhere || !mutant.return_type.contains("impl "));
            self.left_out.extend(alone.iter().map(|mutant| mutant.number));
            let at = first.span().byte_range().start;
            if !woven.is_empty() {
                let texts = woven.iter().map(|m| (m.number, m.replacement.clone())).collect();
                self.push(at..at, Shape::Returns(texts));
            }
        }
        let constants = std::mem::take(&mut self.constants);
        within(self);
        self.constants = constants;
        if signature.constness.is_some() {
            self.inside.pop();
        }
    }

    fn constant(&mut self, within: impl FnOnce(&mut Self)) {
        self.constants += 1;
        within(self);
        self.constants -= 1;
    }
}

/// Whether a chain of `&&` has a `let` in it.
fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) if matches!(binary.op, syn::BinOp::And(_)) => {
            has_let(&binary.left) || has_let(&binary.right)
        }
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        let mutants = self.mutants(Genre::BinaryOperator, start(node.op.span()));
        if !mutants.is_empty() {
            if has_let(&node.left) || has_let(&node.right) {
                self.refused.extend(mutants.iter().map(|mutant| mutant.number));
            } else {
                let left = self.text(bytes(&node.left, &node.left));
                let right = self.text(bytes(&node.right, &node.right));
                let text = |mutant: &&Mutant| {
                    (mutant.number, format!("(({left}) {} ({right}))", mutant.replacement))
                };
                let texts = mutants.iter().map(text).collect();
                self.push(bytes(&node.left, &node.right), Shape::Alternatives(texts));
            }
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        let mutants = self.mutants(Genre::UnaryOperator, start(node.op.span()));
        if let Some(mutant) = mutants.first() {
            let operand = self.text(bytes(&node.expr, &node.expr));
            let texts = vec![(mutant.number, format!("({operand})"))];
            self.push(bytes(&node.op, &node.expr), Shape::Alternatives(texts));
        }
        visit::visit_expr_unary(self, node);
    }

    fn visit_arm(&mut self, node: &'ast syn::Arm) {
        if let Some(mutant) = self.mutants(Genre::MatchArm, start(node.span())).first() {
            let at = node.pat.span().byte_range().end;
            self.push(at..at, Shape::Gone(mutant.number));
        }
        if let Some((_, guard)) = &node.guard {
            let mutants = self.mutants(Genre::MatchArmGuard, start(guard.span()));
            if !mutants.is_empty() {
                let texts = mutants.iter().map(|m| (m.number, m.replacement.clone())).collect();
                self.push(bytes(guard, guard), Shape::Alternatives(texts));
            }
        }
        visit::visit_arm(self, node);
    }

    fn visit_expr_struct(&mut self, node: &'ast syn::ExprStruct) {
        let whole = bytes(node, node);
        let mut texts = Vec::new();
        for pair in node.fields.pairs() {
            for mutant in self.mutants(Genre::StructField, start(pair.value().span())) {
                let field = bytes(pair.value(), pair.value());
                let end = pair.punct().map_or(field.end, |comma| comma.span().byte_range().end);
                let before = self.text(whole.start..field.start);
                let after = self.text(end..whole.end);
                texts.push((mutant.number, format!("{before}{after}")));
            }
        }
        if !texts.is_empty() {
            self.push(whole, Shape::Alternatives(texts));
        }
        visit::visit_expr_struct(self, node);
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        self.function(&node.sig, &node.block, |finder| visit::visit_item_fn(finder, node));
    }

    fn visit_impl_item_fn(&mut self, node: &'ast syn::ImplItemFn) {
        self.function(&node.sig, &node.block, |finder| visit::visit_impl_item_fn(finder, node));
    }

    fn visit_trait_item_fn(&mut self, node: &'ast syn::TraitItemFn) {
        if let Some(block) = &node.default {
            self.function(&node.sig, block, |finder| visit::visit_trait_item_fn(finder, node));
        }
    }

    fn visit_item_const(&mut self, node: &'ast syn::ItemConst) {
        self.constant(|finder| visit::visit_item_const(finder, node));
    }

    fn visit_impl_item_const(&mut self, node: &'ast syn::ImplItemConst) {
        self.constant(|finder| visit::visit_impl_item_const(finder, node));
    }

    fn visit_item_static(&mut self, node: &'ast syn::ItemStatic) {
        self.constant(|finder| visit::visit_item_static(finder, node));
    }

    fn visit_expr_const(&mut self, node: &'ast syn::ExprConst) {
        self.constant(|finder| visit::visit_expr_const(finder, node));
    }

    fn visit_type_array(&mut self, node: &'ast syn::TypeArray) {
        self.constant(|finder| visit::visit_type_array(finder, node));
    }

    fn visit_expr_repeat(&mut self, node: &'ast syn::ExprRepeat) {
        self.visit_expr(&node.expr);
        self.constant(|finder| finder.visit_expr(&node.len));
    }

    fn visit_generic_argument(&mut self, node: &'ast syn::GenericArgument) {
        self.constant(|finder| visit::visit_generic_argument(finder, node));
    }

    fn visit_pat(&mut self, node: &'ast syn::Pat) {
        self.constant(|finder| visit::visit_pat(finder, node));
    }
}

/// The text of what each mutant changes, with its operands, in one line.
pub struct Texts(HashMap<(Genre, Place), String>);

impl Texts {
    /// Of all places where a mutant can be.
    pub fn of(source: &str) -> Result<Self> {
        let mut texts = TextFinder { source, texts: HashMap::new() };
        texts.visit_file(&syn::parse_file(source)?);
        Ok(Self(texts.texts))
    }

    /// The text at a place.
    pub fn at(&self, genre: Genre, place: Place) -> Option<&str> {
        self.0.get(&(genre, place)).map(String::as_str)
    }
}

struct TextFinder<'a> {
    source: &'a str,
    texts: HashMap<(Genre, Place), String>,
}

impl TextFinder<'_> {
    fn put(&mut self, genre: Genre, place: Place, range: Range<usize>) {
        let text = self.source.get(range).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        self.texts.insert((genre, place), words.join(" "));
    }
}

impl<'ast> Visit<'ast> for TextFinder<'_> {
    fn visit_expr_binary(&mut self, node: &'ast syn::ExprBinary) {
        let place = start(node.op.span());
        self.put(Genre::BinaryOperator, place, bytes(&node.left, &node.right));
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast syn::ExprUnary) {
        let place = start(node.op.span());
        self.put(Genre::UnaryOperator, place, bytes(&node.op, &node.expr));
        visit::visit_expr_unary(self, node);
    }

    fn visit_field_value(&mut self, node: &'ast syn::FieldValue) {
        self.put(Genre::StructField, start(node.span()), bytes(node, node));
        visit::visit_field_value(self, node);
    }
}
