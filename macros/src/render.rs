use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;

use crate::method::{alias, method, method_ident};
use crate::mistakes::Mistakes;
use crate::model::{Handler, Model, Names, Role};

/// What a user's lints must not say of code that the user has not written.
pub(crate) fn lints() -> TokenStream {
    quote! {
        #[allow(
            dead_code, deprecated, missing_docs, non_camel_case_types, non_snake_case, private_bounds, private_interfaces,
            unreachable_pub, unused_imports, unused_qualifications,
            unused_variables, clippy::all, clippy::nursery, clippy::pedantic
        )]
    }
}

/// The block as the user wrote it, its mistakes, and what makes its functions handlers.
pub(crate) fn handlers(model: &Model, mistakes: &Mistakes) -> TokenStream {
    let block = &model.block;
    // What a handler's form asks for, though its body may not.
    let allowed = quote! {
        #[allow(clippy::unused_async, clippy::unused_self, clippy::needless_pass_by_value, clippy::needless_pass_by_ref_mut)]
    };
    let glue = model.entity.as_ref().map(|names| glue(names, &model.handlers));
    quote!(#allowed #block #mistakes #glue)
}

fn glue(names: &Names, handlers: &[Handler]) -> TokenStream {
    let Names { entity, reference } = names;
    let alias = alias();
    let calls = handlers.iter().filter_map(|handler| call(names, handler));
    let runnable: Vec<_> = handlers.iter().filter(|handler| handler.role != Role::Stub).collect();
    let methods = runnable.iter().map(|handler| method(handler));
    let registered = runnable.iter().map(|handler| {
        let (cfgs, method) = (handler.cfgs(), method_ident(handler));
        let add = match handler.role {
            Role::OnActivate => quote!(on_activate),
            Role::OnDeactivate => quote!(on_deactivate),
            Role::Handler | Role::Stub => quote!(add),
        };
        quote!(#(#cfgs)* methods.#add::<#method>();)
    });
    let lints = lints();
    // At the entity's name: a second block is reported there.
    let registers = quote_spanned!(entity.span()=> #[automatically_derived] impl ::grange::Handlers for #entity);
    quote! {
        #lints
        const _: () = {
            use ::grange::rt::NotResult as _;
            type #alias = <#reference as ::grange::Reference>::Entity;
            #(#methods)*
            impl #reference {
                #(#calls)*
            }
            #registers {
                fn register(methods: &mut ::grange::rt::Methods<#alias>) {
                    #(#registered)*
                }
            }
        };
    }
}

/// The reference's method; a hook has none.
fn call(names: &Names, handler: &Handler) -> Option<TokenStream> {
    let (entity, alias) = (&names.entity, alias());
    let Handler { role, attributes, visibility, ident, generics, .. } = handler;
    let arguments: Vec<_> = handler.arguments.iter().map(|argument| &argument.name).collect();
    let types = handler.arguments.iter().map(|argument| &argument.ty);
    let method = method_ident(handler);
    let (returns, body) = match &handler.outcome {
        Some(outcome) => {
            let ok = &outcome.ok;
            let err = outcome.err.as_ref().map(|err| quote!(, #err));
            let info = quote!(<#method as ::grange::rt::Method<#alias>>::info().name);
            let continued =
                quote!(::grange::rt::continuation(::grange::Reference::raw(self), #info, (#(#arguments,)*)));
            (quote!(::grange::Continuation<#entity, #ok #err>), continued)
        }
        None => {
            let (ok, err) = (handler.reply.ok(), handler.reply.err().map(|err| quote!(, #err)));
            let called =
                quote!(::grange::rt::call::<#alias, #method>(::grange::Reference::raw(self), (#(#arguments,)*)));
            (quote!(::grange::Call<#entity, #ok #err>), called)
        }
    };
    let body = match role {
        Role::OnActivate | Role::OnDeactivate => return None,
        Role::Handler => body,
        Role::Stub => quote!(::core::unreachable!()),
    };
    let undocumented = !attributes.iter().any(|attribute| attribute.path().is_ident("doc"));
    let doc = undocumented.then(|| format!("The handler `{ident}`.")).into_iter();
    let where_clause = &generics.where_clause;
    Some(quote! {
        #(#[doc = #doc])* #(#attributes)*
        #visibility fn #ident #generics (&self, #(#arguments: #types),*) -> #returns #where_clause {
            #body
        }
    })
}
