use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Type;

use crate::parameter::{bare, types_in};

/// The spans of the first and the last token. Stable Rust can't join them; but what is rendered between a token of the
/// one and a token of the other is shown by rustc as the whole.
fn ends(tokens: &impl ToTokens) -> (Span, Span) {
    let mut spans = tokens.to_token_stream().into_iter().map(|token| token.span());
    let first = spans.next().unwrap_or_else(Span::call_site);
    (first, spans.last().unwrap_or(first))
}

/// `<T as Trait>::Name`, reported where `T` is written.
pub(crate) fn projection(ty: &impl ToTokens, of: &TokenStream, name: &TokenStream) -> TokenStream {
    let (first, last) = ends(ty);
    // Every token, so that what is said of the trait or of the name stands there too.
    let of = respanned(of, first);
    let head = quote_spanned!(first=> < #ty as #of >);
    let name = respanned(name, last);
    let tail = quote_spanned!(last=> :: #name);
    quote!(#head #tail)
}

/// `(T, U,)`, reported where the one type is written that may be at fault, or else at `otherwise`: a tuple has one span.
pub(crate) fn tuple<'a>(types: impl Iterator<Item = &'a Type>, otherwise: Span) -> TokenStream {
    let types: Vec<_> = types.collect();
    let mut group = Group::new(Delimiter::Parenthesis, quote!(#(#types,)*));
    let suspects: Vec<_> = types.iter().filter(|ty| !is_well_known(ty)).collect();
    group.set_span(if let [suspect] = &suspects[..] { ends(suspect).0 } else { otherwise });
    group.to_token_stream()
}

/// A type that can travel, by its name. Only guides a span.
fn is_well_known(ty: &Type) -> bool {
    const NAMES: [&str; 24] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128",
        "usize", "String", "Duration", "Uuid", "Option", "Vec", "HashMap", "BTreeMap", "Outcome",
    ];
    match bare(ty) {
        Type::Tuple(tuple) => tuple.elems.iter().all(is_well_known),
        Type::Array(array) => is_well_known(&array.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            NAMES.iter().any(|name| last.ident == name) && types_in(last).into_iter().all(is_well_known)
        }),
        _ => false,
    }
}

/// `const _: () = expression;`, reported where `T` is written.
pub(crate) fn assertion(ty: &impl ToTokens, condition: &TokenStream, message: &str) -> TokenStream {
    let (first, last) = ends(ty);
    let arguments = quote_spanned!(last=> (#condition, #message));
    let assert = quote_spanned!(first=> ::core::assert!);
    quote!(const _: () = #assert #arguments;)
}

fn respanned(tokens: &TokenStream, span: Span) -> TokenStream {
    let respan = |mut token: proc_macro2::TokenTree| {
        token.set_span(span);
        token
    };
    tokens.clone().into_iter().map(respan).collect()
}
