use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::{Generics, Ident, Path, PathArguments, Receiver, ReturnType, Signature, Type, TypePath, parse_quote_spanned};

use crate::attribute::handler_name;
use crate::mistakes::Mistakes;
use crate::model::{Handler, Model, Names, Reply, Role};
use crate::parameter::{Parameter, bare, check_owned, named, types_in};
use crate::parse::{Block, Function, Member};
use crate::rewrite::WithoutSelf;

const NOT_GENERIC: &str =
    "an entity has no generic parameters: its kind is one stable name; write one struct for each kind";

/// The longest tuple of arguments that can travel.
const ARGUMENTS_MAX: usize = 12;

/// From a block to its handlers.
pub(crate) fn handlers(mut block: Block, mistakes: &mut Mistakes) -> Model {
    let entity = names(&block, mistakes);
    let mut handlers: Vec<Handler> = Vec::new();
    for item in &mut block.items {
        let Member::Function(function) = item else { continue };
        let found = entity.as_ref().and_then(|names| handler(function, &names.entity, mistakes));
        function.attributes.retain(|attribute| !attribute.path().is_ident("handler"));
        let Some(handler) = found else { continue };
        match handlers.iter().find(|other| clash(other, &handler)) {
            // Two functions of one name: rustc says it of the user's own.
            Some(other) if other.ident == handler.ident => continue,
            Some(other) => {
                let (first, second, name) = (&other.ident, &handler.ident, &handler.wire_name);
                let message = format!(
                    "`{first}` and `{second}` have the same name on the wire, `{name}`: \
                     write another one in `#[handler(name = \"…\")]`"
                );
                mistakes.at(second, message);
                handlers.push(Handler { role: Role::Stub, ..handler });
            }
            None => handlers.push(handler),
        }
    }
    Model { block, entity, handlers }
}

/// Two of the same wire name, if not only one of them is compiled.
fn clash(left: &Handler, right: &Handler) -> bool {
    let conditional = |handler: &Handler| handler.attributes.iter().any(|attribute| attribute.path().is_ident("cfg"));
    left.wire_name == right.wire_name && !conditional(left) && !conditional(right)
}

fn names(block: &Block, mistakes: &mut Mistakes) -> Option<Names> {
    let subject = &block.subject;
    if let Some((implements, for_token)) = &block.implements {
        let message = format!(
            "handlers are methods of the entity itself: put `#[entity]` on `impl {} {{ … }}`",
            subject.to_token_stream()
        );
        mistakes.at(quote!(#implements #for_token #subject), message);
        return None;
    }
    if !is_plain(&block.generics, mistakes) {
        return None;
    }
    let path = match bare(subject) {
        Type::Path(TypePath { qself: None, path }) => path,
        other => {
            mistakes.at(other, "expected the name of an entity: write `impl Account { … }`");
            return None;
        }
    };
    let mut reference = path.clone();
    let last = reference.segments.last_mut()?;
    if !matches!(last.arguments, PathArguments::None) {
        mistakes.at(&last.arguments, NOT_GENERIC);
        return None;
    }
    last.ident = format_ident!("{}Ref", last.ident);
    Some(Names { entity: path.clone(), reference })
}

/// Whether a struct or an `impl` is without parameters: with them nothing that is generated would compile.
pub(crate) fn is_plain(generics: &Generics, mistakes: &mut Mistakes) -> bool {
    let tokens = match &generics.where_clause {
        _ if !generics.params.is_empty() => generics.to_token_stream(),
        Some(where_clause) => where_clause.to_token_stream(),
        None => return true,
    };
    mistakes.at(tokens, NOT_GENERIC);
    false
}

/// A handler, a hook, or the stub of a wrong one; `None` for what the block may have besides.
fn handler(function: &Function, entity: &Path, mistakes: &mut Mistakes) -> Option<Handler> {
    let signature = &function.signature;
    let known = mistakes.count();
    let Some(receiver) = signature.receiver() else {
        if let Some(attribute) = function.attributes.iter().find(|attribute| attribute.path().is_ident("handler")) {
            mistakes.at(attribute, "a function without `self` is no handler: remove the attribute, or add `&self`");
        }
        return None;
    };
    let mut role = match signature.ident.to_string().as_str() {
        "on_activate" => Role::OnActivate,
        "on_deactivate" => Role::OnDeactivate,
        _ => Role::Handler,
    };
    check_shape(signature, receiver, entity, mistakes);
    let exclusive = receiver.mutability.is_some();
    let wire_name = wire_name(function, role, mistakes);
    let parameters = parameters(signature, entity, exclusive, mistakes);
    if role != Role::Handler {
        check_hook(signature, receiver, &parameters, mistakes);
    }
    let before_reply = mistakes.count();
    let mut reply = reply(signature, entity, mistakes);
    if mistakes.count() > before_reply {
        reply = Reply::Plain(unit(&signature.ident));
    }
    if mistakes.count() > known {
        role = Role::Stub;
    }
    let (mut arguments, mut takes_turn, mut outcome) = (Vec::new(), false, None);
    for parameter in parameters {
        match parameter {
            Parameter::Argument(argument) => arguments.push(*argument),
            Parameter::Turn => takes_turn = true,
            Parameter::Outcome(found) => outcome = Some(*found),
        }
    }
    Some(Handler {
        role,
        attributes: function.attributes.iter().filter(|attribute| is_shared(attribute)).cloned().collect(),
        visibility: function.visibility.clone(),
        ident: signature.ident.clone(),
        wire_name,
        generics: signature.generics.clone(),
        exclusive,
        arguments,
        takes_turn,
        outcome,
        reply,
    })
}

fn is_shared(attribute: &syn::Attribute) -> bool {
    ["doc", "cfg", "deprecated"].iter().any(|name| attribute.path().is_ident(name))
}

/// Everything of a signature but its parameters and its reply.
fn check_shape(signature: &Signature, receiver: &Receiver, entity: &Path, mistakes: &mut Mistakes) {
    if signature.asyncness.is_none() {
        let (name, entity) = (&signature.ident, entity.to_token_stream());
        let message = format!(
            "handlers are `async`: write `async fn {name}`, or move a helper to a plain `impl {entity} {{ … }}`"
        );
        let fn_token = &signature.fn_token;
        mistakes.at(quote!(#fn_token #name), message);
    }
    let by_reference = matches!(&receiver.reference, Some((_, None)));
    if !by_reference || receiver.colon_token.is_some() {
        mistakes.at(receiver, "a handler borrows its entity: write `&self` (a read) or `&mut self` (exclusive)");
    }
    if let Some(unsafety) = &signature.unsafety {
        mistakes.at(unsafety, "a handler is called from the network, so it must be safe: remove `unsafe`");
    }
    if let Some(abi) = &signature.abi {
        mistakes.at(abi, "a handler is called by the framework: remove `extern`");
    }
    if !signature.generics.params.is_empty() {
        let message = "a handler has no generic parameters: it is found by its name alone; write the types";
        mistakes.at(&signature.generics, message);
    } else if let Some(where_clause) = &signature.generics.where_clause {
        mistakes.at(where_clause, "a handler has no bounds: remove the `where`");
    }
}

fn wire_name(function: &Function, role: Role, mistakes: &mut Mistakes) -> String {
    let ident = &function.signature.ident;
    let mut attributes = function.attributes.iter().filter(|attribute| attribute.path().is_ident("handler"));
    let name = match attributes.next() {
        Some(attribute) if role != Role::Handler => {
            mistakes.at(attribute, format!("`{ident}` is a hook and has no name on the wire: remove the attribute"));
            None
        }
        Some(attribute) => handler_name(attribute).map_err(|error| mistakes.add(error)).ok(),
        None => None,
    };
    if let Some(second) = attributes.next() {
        mistakes.at(second, "a handler has one name on the wire: keep one `#[handler]`");
    }
    name.unwrap_or_else(|| ident.unraw().to_string())
}

/// The parameters behind `self`, in the order: arguments, the turn, the outcome.
fn parameters(signature: &Signature, entity: &Path, exclusive: bool, mistakes: &mut Mistakes) -> Vec<Parameter> {
    let mut read: Vec<Parameter> = Vec::new();
    for (index, input) in signature.inputs.iter().enumerate().skip(1) {
        let Some(parameter) = Parameter::read(input, index, entity, exclusive, mistakes) else { continue };
        let has_turn = read.iter().any(|before| matches!(before, Parameter::Turn));
        match &parameter {
            _ if read.iter().any(|before| matches!(before, Parameter::Outcome(_))) => {
                mistakes.at(input, "the `Outcome` is the last parameter: write this one before it");
            }
            Parameter::Turn if has_turn => mistakes.at(input, "a handler has one turn: remove this one"),
            Parameter::Argument(_) if has_turn => {
                mistakes.at(input, "the turn comes behind the arguments: write this one before it");
            }
            _ => {}
        }
        read.push(parameter);
    }
    let travelling = read.iter().filter(|parameter| !matches!(parameter, Parameter::Turn)).count();
    if travelling > ARGUMENTS_MAX {
        let inputs = signature.inputs.iter().skip(1);
        let message = format!("a handler has at most {ARGUMENTS_MAX} arguments: put some of them into a struct");
        mistakes.at(quote!(#(#inputs),*), message);
    }
    read
}

fn check_hook(signature: &Signature, receiver: &Receiver, parameters: &[Parameter], mistakes: &mut Mistakes) {
    let name = &signature.ident;
    let right =
        format!("`{name}` is a hook: write `async fn {name}(&mut self)` or `(&mut self, turn: &mut Turn<Self>)`");
    if receiver.reference.is_some() && receiver.mutability.is_none() {
        mistakes.at(receiver, &right);
    } else if !parameters.iter().all(|parameter| matches!(parameter, Parameter::Turn)) {
        let inputs = signature.inputs.iter().skip(1);
        mistakes.at(quote!(#(#inputs),*), format!("{right}; it has no arguments, since nobody calls it"));
    }
}

fn unit(at: &Ident) -> Type {
    parse_quote_spanned!(at.span()=> ())
}

/// By the name alone: what is rendered proves it.
fn reply(signature: &Signature, entity: &Path, mistakes: &mut Mistakes) -> Reply {
    let written = match &signature.output {
        ReturnType::Default => return Reply::Plain(unit(&signature.ident)),
        ReturnType::Type(_, written) => written,
    };
    check_owned(written, "a reply leaves the entity", mistakes);
    let ty = WithoutSelf(entity).of(written);
    let Some(result) = named(&ty, "Result") else { return Reply::Plain(ty) };
    match types_in(result)[..] {
        [ok, err] => Reply::Literal { ok: Box::new(ok.clone()), err: Box::new(err.clone()) },
        _ => Reply::Alias(ty),
    }
}
