use quote::{ToTokens, format_ident};
use syn::ext::IdentExt;
use syn::visit::Visit;
use syn::{
    FnArg, GenericArgument, Ident, Lifetime, Pat, PatType, Path, PathArguments, PathSegment, Type, TypeReference,
};

use crate::mistakes::Mistakes;
use crate::model::{Argument, OutcomeOf};
use crate::rewrite::WithoutSelf;

/// A parameter of a handler, behind `self`.
pub(crate) enum Parameter {
    Argument(Box<Argument>),
    /// `&mut Turn<Self>` or `&Turn<Self>`.
    Turn,
    Outcome(Box<OutcomeOf>),
}

impl Parameter {
    /// What the parameter at this position (from 1) is. Where it may stand is another question.
    pub(crate) fn read(
        parameter: &FnArg,
        position: usize,
        entity: &Path,
        exclusive: bool,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        // A second `self` is rustc's to refuse.
        let FnArg::Typed(parameter) = parameter else { return None };
        if let Some(attribute) = parameter.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
            let message = "every version of a handler has the same arguments: write an `Option` without `cfg`";
            mistakes.at(attribute, message);
        }
        if let Type::Reference(reference) = bare(&parameter.ty)
            && let Some(turn) = named(&reference.elem, "Turn")
        {
            check_turn(parameter, reference, turn, entity, exclusive, mistakes);
            return Some(Self::Turn);
        }
        if let Some(turn) = named(&parameter.ty, "Turn")
            && types_in(turn).first().is_some_and(|of| is_entity(of, entity))
        {
            let right = if exclusive { "&mut Turn<Self>" } else { "&Turn<Self>" };
            mistakes.at(&parameter.ty, format!("a turn is lent to its handler: write `{right}`"));
            return Some(Self::Turn);
        }
        let ty = WithoutSelf(entity).of(&parameter.ty);
        if let Some(outcome) = named(&ty, "Outcome")
            && let [ok, rest @ ..] = &types_in(outcome)[..]
        {
            let err = rest.first().map(|err| (*err).clone());
            return Some(Self::Outcome(Box::new(OutcomeOf { ok: (*ok).clone(), err, ty })));
        }
        check_owned(&parameter.ty, "arguments are moved to the entity", mistakes);
        Some(Self::Argument(Box::new(Argument { name: name_of(&parameter.pat, position), ty })))
    }
}

/// A pattern such as `(x, y): (u8, u8)` is the handler's own business: its caller sees a position.
fn name_of(pattern: &Pat, position: usize) -> Ident {
    match pattern {
        Pat::Ident(pattern) => pattern.ident.clone(),
        _ => format_ident!("argument_{position}"),
    }
}

fn check_turn(
    parameter: &PatType,
    reference: &TypeReference,
    turn: &PathSegment,
    entity: &Path,
    exclusive: bool,
    mistakes: &mut Mistakes,
) {
    let right = if exclusive { "&mut Turn<Self>" } else { "&Turn<Self>" };
    if !matches!(&types_in(turn)[..], [of] if is_entity(of, entity)) {
        mistakes.at(&parameter.ty, format!("a handler is given the turn of its own entity: write `{right}`"));
    } else if let Some(lifetime) = &reference.lifetime {
        mistakes.at(lifetime, format!("the turn is lent for as long as the handler runs: write `{right}`"));
    } else if reference.mutability.is_some() && !exclusive {
        let message = "a read gets `&Turn<Self>` and can't send: write `&Turn<Self>` here, or `&mut self`";
        mistakes.at(&parameter.ty, message);
    }
}

fn is_entity(ty: &Type, entity: &Path) -> bool {
    let Type::Path(path) = bare(ty) else { return false };
    path.path.is_ident("Self")
        || path.path.segments.last().map(|segment| &segment.ident)
            == entity.segments.last().map(|segment| &segment.ident)
}

/// A type without parentheses, also those that nobody sees: `macro_rules!` puts them around a `$ty`.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

/// The last segment of a path, if it has this name.
pub(crate) fn named<'a>(ty: &'a Type, name: &str) -> Option<&'a PathSegment> {
    let Type::Path(path) = bare(ty) else { return None };
    path.path.segments.last().filter(|segment| segment.ident.unraw() == name)
}

pub(crate) fn types_in(segment: &PathSegment) -> Vec<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return Vec::new() };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

/// Whether a type owns what it holds: what travels can't borrow.
pub(crate) fn check_owned(ty: &Type, why: &str, mistakes: &mut Mistakes) {
    let mut borrowed = Borrowed(None);
    borrowed.visit_type(ty);
    if let Some((tokens, what)) = borrowed.0 {
        mistakes.at(tokens, format!("{why}: {what}"));
    }
}

/// The first thing in a type that is not owned.
struct Borrowed(Option<(proc_macro2::TokenStream, String)>);

impl Borrowed {
    fn found(&mut self, tokens: &impl ToTokens, what: impl Into<String>) {
        self.0.get_or_insert_with(|| (tokens.to_token_stream(), what.into()));
    }
}

impl<'ast> Visit<'ast> for Borrowed {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        let owned = match &*reference.elem {
            Type::Path(path) if path.path.is_ident("str") => "`String`".to_owned(),
            Type::Path(path) if path.path.is_ident("Path") => "`PathBuf`".to_owned(),
            Type::Slice(slice) => format!("`Vec<{}>`", slice.elem.to_token_stream()),
            Type::Path(path) => format!("`{}`", path.to_token_stream().to_string().replace(' ', "")),
            _ => "an owned type".to_owned(),
        };
        self.found(reference, format!("write {owned} instead of a reference"));
    }
    fn visit_type_impl_trait(&mut self, ty: &'ast syn::TypeImplTrait) {
        self.found(ty, "`impl Trait` has no stable form on the wire; write the type");
    }
    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.found(lifetime, "write an owned type, or `'static`, instead of one with a lifetime");
        }
    }
}
