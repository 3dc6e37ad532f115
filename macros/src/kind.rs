use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Error, Ident, Item, Visibility};

use crate::attribute::{Arguments, Placement};
use crate::mistakes::Mistakes;
use crate::{check, parse, render};

/// `#[entity]`, on whatever it stands.
pub(crate) fn entity(arguments: TokenStream, item: &TokenStream) -> TokenStream {
    let mut mistakes = Mistakes::default();
    // An `impl` is read by a parser of our own, which leaves the bodies alone.
    if let Ok(block) = syn::parse2::<parse::Block>(item.clone()) {
        if !arguments.is_empty() {
            let message = "the arguments of `#[entity]` go on the struct: write `#[entity]` here";
            mistakes.at(arguments, message);
        }
        let model = check::handlers(block, &mut mistakes);
        return render::handlers(&model, &mistakes);
    }
    let kind = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Struct(item)) => Some((item.vis, item.ident, item.generics)),
        Ok(Item::Enum(found)) => {
            let message = format!(
                "an entity is a struct, so that it can grow: write `struct {}` with the enum in a field",
                found.ident
            );
            let (enum_token, ident) = (&found.enum_token, &found.ident);
            mistakes.at(quote!(#enum_token #ident), message);
            Some((found.vis, found.ident, found.generics))
        }
        Ok(_) => {
            let message = "`#[entity]` goes on a struct and on its `impl`: remove it here";
            mistakes.add(Error::new(Span::call_site(), message));
            None
        }
        Err(error) => {
            mistakes.add(error);
            None
        }
    };
    let rendered = kind.and_then(|(visibility, ident, generics)| {
        let kind = Kind { visibility, ident, arguments: Arguments::parse(arguments, &mut mistakes) };
        check::is_plain(&generics, &mut mistakes).then(|| kind.render())
    });
    quote!(#item #mistakes #rendered)
}

/// A struct that is an entity.
struct Kind {
    visibility: Visibility,
    ident: Ident,
    arguments: Arguments,
}

impl Kind {
    fn render(&self) -> TokenStream {
        let Self { visibility, ident, arguments } = self;
        let reference = format_ident!("{}Ref", ident);
        let docs = [
            format!(
                "A reference to an entity [`{ident}`] by its key. Owned and cheap to clone; the entity need not exist."
            ),
            String::new(),
            "Its methods are the handlers: each makes a call, which does nothing until it is awaited, sent or \
             notified. `key()` and `id()` come from [`Reference`](::grange::Reference)."
                .to_owned(),
        ];
        let name = arguments.name.clone().unwrap_or_else(|| ident.unraw().to_string());
        let key = arguments.key.as_ref().map_or_else(|| quote!(::std::string::String), ToTokens::to_token_stream);
        let settings = settings(arguments);
        let (fresh, codec) = (default_of(ident), codec_of(ident, arguments.volatile));
        let durable = (!arguments.volatile).then(|| quote!(impl ::grange::Durable for #ident {}));
        let lints = render::lints();
        quote! {
            #(#[doc = #docs])*
            #[derive(::core::clone::Clone, ::core::fmt::Debug)]
            #[allow(unreachable_pub, clippy::module_name_repetitions)]
            #visibility struct #reference(::grange::rt::RawRef<#ident>);

            #lints
            const _: () = {
                #[automatically_derived]
                impl ::core::convert::From<::grange::rt::RawRef<#ident>> for #reference {
                    fn from(raw: ::grange::rt::RawRef<#ident>) -> Self {
                        Self(raw)
                    }
                }
                #[automatically_derived]
                impl ::grange::Reference for #reference {
                    type Entity = #ident;
                    fn raw(&self) -> &::grange::rt::RawRef<#ident> {
                        &self.0
                    }
                }
                #[automatically_derived]
                impl ::grange::Entity for #ident {
                    const KIND: &'static ::core::primitive::str = #name;
                    type Key = #key;
                    type Ref = #reference;
                    const SETTINGS: ::grange::rt::Settings = #settings;
                    const STATE: ::core::option::Option<::grange::rt::StateCodec<Self>> = #codec;
                    fn fresh() -> Self {
                        #fresh
                    }
                }
                #durable
            };
        }
    }
}

fn settings(arguments: &Arguments) -> TokenStream {
    let idle = optional(arguments.idle_ms);
    let mailbox = optional(arguments.mailbox);
    let placement = match arguments.placement {
        Placement::Partition => quote!(Partition),
        Placement::Local => quote!(Local),
        Placement::Balanced => quote!(Balanced),
    };
    quote! {
        ::grange::rt::Settings {
            idle_ms: #idle,
            mailbox: #mailbox,
            placement: ::grange::rt::Placement::#placement,
        }
    }
}

fn optional(value: Option<impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// With the struct's span, so that a missing `Default` is reported there.
fn default_of(ident: &Ident) -> TokenStream {
    quote_spanned!(ident.span()=> <#ident as ::core::default::Default>::default())
}

/// With the struct's span, so that a missing `Serialize` or `Deserialize` is reported there.
fn codec_of(ident: &Ident, volatile: bool) -> TokenStream {
    if volatile {
        return quote!(::core::option::Option::None);
    }
    let codec = quote_spanned!(ident.span()=> ::grange::rt::StateCodec::<#ident>::serde());
    quote!(::core::option::Option::Some(#codec))
}
