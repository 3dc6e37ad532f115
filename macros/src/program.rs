use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Result, Signature, Visibility};

use crate::mistakes::Mistakes;

/// What an `async fn` is made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Main,
    Test,
}

struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    signature: Signature,
    body: TokenTree,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        Ok(Self {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })
    }
}

/// `#[grange::main]` and `#[grange::test]`.
pub(crate) fn program(program: Program, arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    let Ok(function) = syn::parse2::<Function>(item.clone()) else {
        let first: TokenStream = item.clone().into_iter().take(1).collect();
        mistakes.at(first, format!("{} goes on an `async fn`", program.attribute()));
        return quote!(#item #mistakes);
    };
    if !arguments.is_empty() {
        let message = format!("{} has no arguments: remove them", program.attribute());
        mistakes.at(arguments, message);
    }
    program.check(&function, &mut mistakes);
    let rendered = program.render(&function, mistakes.count() > 0);
    quote!(#mistakes #rendered)
}

impl Program {
    fn attribute(self) -> &'static str {
        match self {
            Self::Main => "`#[grange::main]`",
            Self::Test => "`#[grange::test]`",
        }
    }

    fn check(self, function: &Function, mistakes: &mut Mistakes) {
        let (signature, attribute) = (&function.signature, self.attribute());
        let name = &signature.ident;
        if signature.asyncness.is_none() {
            let fn_token = &signature.fn_token;
            mistakes.at(quote!(#fn_token #name), format!("{attribute} runs a future: write `async fn {name}`"));
        }
        if !signature.inputs.is_empty() {
            let message = format!("{attribute} has nothing to pass to it: write `async fn {name}()`");
            mistakes.at(&signature.inputs, message);
        }
        if !signature.generics.params.is_empty() {
            let message = format!("{attribute} can't choose its types: write `async fn {name}()`");
            mistakes.at(&signature.generics, message);
        }
        let is_test =
            |attribute: &&Attribute| attribute.path().segments.last().is_some_and(|last| last.ident == "test");
        if self == Self::Test
            && let Some(second) = function.attributes.iter().find(is_test)
        {
            mistakes.at(second, format!("{attribute} makes it a test already: remove this attribute"));
        }
    }

    fn render(self, function: &Function, wrong: bool) -> TokenStream {
        let Function { attributes, visibility, signature, body } = function;
        let (name, output) = (&signature.ident, &signature.output);
        let test = (self == Self::Test && !wrong).then(|| quote!(#[::core::prelude::v1::test]));
        if wrong {
            // The mistakes are told; the body may depend on what was wrong.
            return quote!(#[allow(dead_code)] #visibility fn #name() #output { ::core::unreachable!() });
        }
        // A function within the function, so that types are inferred and errors reported as in any `async fn`.
        let asynchronous = quote!(#[allow(clippy::unused_async)] #signature #body).into_token_stream();
        quote! {
            #(#attributes)*
            #test
            #visibility fn #name() #output {
                #asynchronous
                ::grange::rt::block_on(#name())
            }
        }
    }
}
