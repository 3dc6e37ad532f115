use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::Ident;
use syn::ext::IdentExt;

use crate::model::{Handler, Reply};
use crate::spans::{assertion, tuple};

/// The name of the type that stands for the handler.
pub(crate) fn method_ident(handler: &Handler) -> Ident {
    format_ident!("__{}", handler.ident.unraw(), span = handler.ident.span())
}

/// The entity, by way of its reference: where that is missing, only that is reported.
pub(crate) fn alias() -> Ident {
    format_ident!("__Entity")
}

/// A name that no name of the user's can meet.
fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// The type that stands for the handler, what is proved of it, and how it is run.
pub(crate) fn method(handler: &Handler) -> TokenStream {
    let entity = alias();
    let Handler { wire_name, exclusive, .. } = handler;
    let (cfgs, method) = (handler.cfgs(), method_ident(handler));
    let outcome = handler.outcome.as_ref().map(|outcome| &outcome.ty);
    let types = handler.arguments.iter().map(|argument| &argument.ty).chain(outcome);
    let arguments = tuple(types, handler.ident.span());
    let ok = handler.reply.ok();
    let err = handler.reply.err().unwrap_or_else(|| quote!(::grange::Never));
    let proofs = proofs(handler).map(|proof| quote!(#(#cfgs)* #proof));
    let run = run(&ok, &err, handler);
    quote! {
        #(#proofs)*
        // An enum and not a struct: a unit struct would capture patterns of its name.
        #(#cfgs)*
        enum #method {}
        #(#cfgs)*
        #[automatically_derived]
        impl ::grange::rt::Method<#entity> for #method {
            type Args = #arguments;
            type Ok = #ok;
            type Err = #err;
            fn info() -> &'static ::grange::rt::MethodInfo {
                static INFO: ::grange::rt::MethodInfo =
                    ::grange::rt::MethodInfo::new(<#entity as ::grange::Entity>::KIND, #wire_name, #exclusive);
                &INFO
            }
            #run
        }
    }
}

fn run(ok: &TokenStream, err: &TokenStream, handler: &Handler) -> TokenStream {
    let entity = alias();
    let (me, state, turn) = (local("me"), local("state"), local("turn"));
    let arguments: Vec<Ident> =
        (0..handler.arguments.len()).map(|position| local(&format!("argument_{position}"))).collect();
    let outcome: Vec<Ident> = handler.outcome.iter().map(|_| local("outcome")).collect();
    let lent = handler.takes_turn.then_some(&turn).into_iter();
    let (runner, borrow) =
        if handler.exclusive { (quote!(exclusive), quote!(&mut)) } else { (quote!(read), quote!(&)) };
    let ident = &handler.ident;
    let handled = quote!(<#entity>::#ident(#me, #(#arguments,)* #(#lent,)* #(#outcome,)*).await);
    let result = if handler.reply.is_result() { handled } else { quote!(::core::result::Result::Ok(#handled)) };
    quote! {
        fn run(
            #state: ::grange::rt::StateCell<#entity>,
            (#(#arguments,)* #(#outcome,)*): Self::Args,
            #turn: ::grange::Turn<#entity>,
        ) -> impl ::core::future::Future<
            Output = (::core::result::Result<#ok, #err>, ::grange::Turn<#entity>),
        > + 'static {
            ::grange::rt::#runner(#state, #turn, async move |#me: #borrow #entity, #turn: #borrow ::grange::Turn<#entity>| {
                #result
            })
        }
    }
}

/// What was guessed by name, proved by type at the user's own token.
fn proofs(handler: &Handler) -> impl Iterator<Item = TokenStream> {
    let plain = match &handler.reply {
        Reply::Plain(ty) => {
            let message =
                "this is a `Result` under another name: write `Result<T, E>`, so that `Err` rolls the turn back";
            Some(assertion(ty, &quote!(!::grange::rt::Probe::<#ty>::IS_RESULT), message))
        }
        Reply::Literal { .. } | Reply::Alias(_) => None,
    };
    let outcome = handler.outcome.as_ref().map(|outcome| {
        let (ty, ok) = (&outcome.ty, &outcome.ok);
        let err = outcome.err.as_ref().map_or_else(|| quote!(::grange::Never), ToTokens::to_token_stream);
        quote!(const _: () = ::grange::rt::outcome::<#ty, #ok, #err>();)
    });
    plain.into_iter().chain(outcome)
}
