use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Generics, ImplItem, Path, Result, Signature, Token, Type, Visibility, braced};

/// An `impl` block whose functions' bodies are left as tokens: what is in them is rustc's business, and may be
/// half-written when an editor asks.
pub(crate) struct Block {
    pub(crate) attributes: Vec<Attribute>,
    impl_token: Token![impl],
    pub(crate) generics: Generics,
    /// `Display for` in `impl Display for Account`.
    pub(crate) implements: Option<(Path, Token![for])>,
    pub(crate) subject: Type,
    inner: Vec<Attribute>,
    pub(crate) items: Vec<Member>,
}

/// A thing in an `impl` block.
pub(crate) enum Member {
    Function(Box<Function>),
    Other(Box<ImplItem>),
}

pub(crate) struct Function {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    /// The braces and all that is in them.
    body: TokenTree,
}

impl Parse for Block {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let impl_token = input.parse()?;
        let mut generics: Generics = input.parse()?;
        let first: Type = input.parse()?;
        let (implements, subject) = match (first, input.parse::<Option<Token![for]>>()?) {
            (Type::Path(path), Some(for_token)) => (Some((path.path, for_token)), input.parse()?),
            (_, Some(_)) => return Err(input.error("expected a trait")),
            (subject, None) => (None, subject),
        };
        generics.where_clause = input.parse()?;
        let content;
        braced!(content in input);
        let inner = content.call(Attribute::parse_inner)?;
        let mut items = Vec::new();
        while !content.is_empty() {
            items.push(content.parse()?);
        }
        Ok(Self { attributes, impl_token, generics, implements, subject, inner, items })
    }
}

impl Parse for Member {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let ahead = input.fork();
        ahead.call(Attribute::parse_outer)?;
        ahead.parse::<Visibility>()?;
        if ahead.parse::<Signature>().is_err() {
            return Ok(Self::Other(Box::new(input.parse()?)));
        }
        Ok(Self::Function(Box::new(Function {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })))
    }
}

impl ToTokens for Block {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attributes, impl_token, generics, implements, subject, inner, items } = self;
        let (implements, for_token) = implements.as_ref().map(|(path, for_token)| (path, for_token)).unzip();
        let where_clause = &generics.where_clause;
        tokens.extend(quote::quote! {
            #(#attributes)* #impl_token #generics #implements #for_token #subject #where_clause { #(#inner)* #(#items)* }
        });
    }
}

impl ToTokens for Member {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Function(function) => {
                let Function { attributes, visibility, signature, body } = &**function;
                tokens.extend(quote::quote!(#(#attributes)* #visibility #signature #body));
            }
            Self::Other(item) => item.to_tokens(tokens),
        }
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn a_body_that_is_no_rust_is_left_alone() {
        let half_written = quote! {
            impl Account {
                pub const LIMIT: u64 = 5;
                /// Docs.
                pub async fn deposit(&mut self, amount: u64) -> u64 { self. let }
                fn helper() {}
            }
        };
        let block: Block = syn::parse2(half_written.clone()).unwrap();
        assert_eq!(block.items.len(), 3);
        assert_eq!(block.to_token_stream().to_string(), half_written.to_string());
    }

    #[test]
    fn a_trait_impl_is_read_too() {
        let block: Block = syn::parse_quote!(
            impl<T> Display for Account<T> where T: Copy {}
        );
        assert!(block.implements.is_some());
        assert_eq!(
            block.to_token_stream().to_string(),
            quote!(
                impl<T> Display for Account<T> where T: Copy {}
            )
            .to_string()
        );
    }

    #[test]
    fn a_struct_is_no_block() {
        assert!(
            syn::parse2::<Block>(quote!(
                struct Account;
            ))
            .is_err()
        );
    }
}
