//! Finds the places of a Rust file where a mutant can have a switch, and those that are evaluated at compile time.

use std::{collections::HashMap, ops::Range};

use syn::{spanned::Spanned, visit::Visit};

use crate::mutant::Genre;

/// A place of the syntax where a mutant can be.
#[derive(Debug, Clone)]
pub enum Site {
    Body,
    /// Left and right operand.
    Binary(Range<usize>, Range<usize>),
    /// The operand.
    Unary(Range<usize>),
    /// Where a guard can be put.
    Arm(usize),
    Guard,
    /// How to write the value that the base has, and whether the field is written as its name alone.
    Field(String, bool),
    /// `&&` beside a `let`, where no other operator is allowed.
    LetChain,
}

#[derive(Debug, Default)]
pub struct Sites<'a> {
    pub text: &'a str,
    /// By the range that cargo-mutants names; with the range of the whole expression.
    pub found: HashMap<(Genre, usize), (Range<usize>, Site)>,
    pub at_compile_time: usize,
}

impl std::hash::Hash for Genre {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
    }
}

fn bytes(spanned: &impl Spanned) -> Range<usize> {
    spanned.span().byte_range()
}

fn has_let(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl Sites<'_> {
    fn add(&mut self, genre: Genre, at: usize, whole: Range<usize>, site: Site) {
        if self.at_compile_time == 0 {
            self.found.insert((genre, at), (whole, site));
        }
    }

    fn body(&mut self, block: &syn::Block) {
        if let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) {
            let whole = bytes(first).start..bytes(last).end;
            self.add(Genre::FnValue, whole.start, whole, Site::Body);
        }
    }

    fn at_compile_time(&mut self, is_const: bool, visit: impl FnOnce(&mut Self)) {
        let before = self.at_compile_time;
        self.at_compile_time += usize::from(is_const);
        visit(self);
        self.at_compile_time = before;
    }
}

impl<'ast> Visit<'ast> for Sites<'_> {
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.at_compile_time(true, |this| syn::visit::visit_item_const(this, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.at_compile_time(true, |this| syn::visit::visit_impl_item_const(this, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.at_compile_time(true, |this| syn::visit::visit_item_static(this, item));
    }

    fn visit_type_array(&mut self, item: &'ast syn::TypeArray) {
        self.at_compile_time(true, |this| syn::visit::visit_type_array(this, item));
    }

    fn visit_expr_const(&mut self, item: &'ast syn::ExprConst) {
        self.at_compile_time(true, |this| syn::visit::visit_expr_const(this, item));
    }

    fn visit_expr_closure(&mut self, item: &'ast syn::ExprClosure) {
        // It runs later.
        let before = std::mem::take(&mut self.at_compile_time);
        syn::visit::visit_expr_closure(self, item);
        self.at_compile_time = before;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.at_compile_time(item.sig.constness.is_some(), |this| {
            this.body(&item.block);
            syn::visit::visit_item_fn(this, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.at_compile_time(item.sig.constness.is_some(), |this| {
            this.body(&item.block);
            syn::visit::visit_impl_item_fn(this, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        item.default.iter().for_each(|block| self.body(block));
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let (left, right) = (bytes(&binary.left), bytes(&binary.right));
        let whole = left.start..right.end;
        let is_chain = has_let(&binary.left) || has_let(&binary.right);
        let site = if is_chain { Site::LetChain } else { Site::Binary(left, right) };
        self.add(Genre::BinaryOperator, bytes(&binary.op).start, whole, site);
        syn::visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let whole = bytes(unary);
        self.add(Genre::UnaryOperator, whole.start, whole, Site::Unary(bytes(&unary.expr)));
        syn::visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let end = bytes(&arm.pat).end;
        self.add(Genre::MatchArm, bytes(arm).start, end..end, Site::Arm(end));
        if let Some((_, guard)) = &arm.guard
            && !has_let(guard)
        {
            let whole = bytes(guard);
            self.add(Genre::MatchArmGuard, whole.start, whole, Site::Guard);
        }
        syn::visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        if let Some(rest) = &literal.rest {
            for field in &literal.fields {
                let name = &self.text[bytes(&field.member)];
                let (path, rest) = (&self.text[bytes(&literal.path)], &self.text[bytes(rest)]);
                let base = format!("{{ let whole: {path} = {rest}; whole.{name} }}");
                let value = bytes(&field.expr);
                let site = Site::Field(base, field.colon_token.is_none());
                self.add(Genre::StructField, bytes(field).start, value, site);
            }
        }
        syn::visit::visit_expr_struct(self, literal);
    }
}
