use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Generics, Ident, Path, Type, Visibility};

use crate::parse::Block;
use crate::spans::projection;

/// An annotated `impl` block, understood.
pub(crate) struct Model {
    /// What the user wrote, without `#[handler]`.
    pub(crate) block: Block,
    /// `None`: the block can't have handlers at all.
    pub(crate) entity: Option<Names>,
    pub(crate) handlers: Vec<Handler>,
}

/// The entity as the block names it, and its reference beside it.
pub(crate) struct Names {
    pub(crate) entity: Path,
    pub(crate) reference: Path,
}

/// An `async fn` of the block.
pub(crate) struct Handler {
    pub(crate) role: Role,
    /// `doc`, `cfg` and `deprecated`: they hold for the reference's method too.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) ident: Ident,
    pub(crate) wire_name: String,
    /// Empty, but for a stub.
    pub(crate) generics: Generics,
    pub(crate) exclusive: bool,
    /// What the caller gives.
    pub(crate) arguments: Vec<Argument>,
    /// Whether it takes its turn, after the arguments.
    pub(crate) takes_turn: bool,
    /// A continuation's last parameter.
    pub(crate) outcome: Option<OutcomeOf>,
    pub(crate) reply: Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Called by anyone.
    Handler,
    /// Runs before the first turn.
    OnActivate,
    /// Runs after the last turn.
    OnDeactivate,
    /// Something is wrong with it: only the reference gets a method, so that callers hear nothing of it.
    Stub,
}

pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
}

/// `Outcome<T, E>`.
pub(crate) struct OutcomeOf {
    pub(crate) ty: Type,
    pub(crate) ok: Type,
    pub(crate) err: Option<Type>,
}

/// What a handler returns. Guessed by name; what is rendered proves it by type.
pub(crate) enum Reply {
    /// Not called `Result`.
    Plain(Type),
    /// `Result<T, E>`.
    Literal { ok: Box<Type>, err: Box<Type> },
    /// Called `Result`, with other than two arguments: an alias.
    Alias(Type),
}

impl Handler {
    /// When it is compiled at all.
    pub(crate) fn cfgs(&self) -> Vec<&Attribute> {
        self.attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
    }
}

impl Reply {
    pub(crate) fn is_result(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// The type of its value.
    pub(crate) fn ok(&self) -> TokenStream {
        match self {
            Self::Plain(ok) => ok.to_token_stream(),
            Self::Literal { ok, .. } => ok.to_token_stream(),
            Self::Alias(alias) => projection(alias, &quote!(::grange::rt::Fallible), &quote!(Ok)),
        }
    }

    /// The type of its error, if it can have one.
    pub(crate) fn err(&self) -> Option<TokenStream> {
        match self {
            Self::Plain(_) => None,
            Self::Literal { err, .. } => Some(err.to_token_stream()),
            Self::Alias(alias) => Some(projection(alias, &quote!(::grange::rt::Fallible), &quote!(Err))),
        }
    }
}
