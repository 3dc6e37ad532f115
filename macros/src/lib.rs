//! The attribute macros of grange: `#[entity]`, `#[grange::main]`, `#[grange::test]`.
//!
//! Every macro goes the same way: *parse* what the user wrote (bodies of functions stay tokens, so that half-written
//! code keeps its reference in an editor), *check* it into a model and gather all mistakes, *render* the model. What the
//! user wrote is emitted whatever the mistakes, and for a wrong handler a stub of its reference's method, so that one
//! mistake is one error.
//!
//! | file | holds |
//! |---|---|
//! | `attribute`, `duration`, `nearest` | the arguments of `#[entity(…)]` |
//! | `kind` | `#[entity]` on the struct: its reference and its `Entity` |
//! | `parse`, `model`, `check`, `parameter`, `rewrite` | `#[entity]` on the `impl`: from tokens to handlers |
//! | `render`, `method` | from handlers to the reference's methods, the `Method`s and `Handlers` |
//! | `program` | `#[grange::main]`, `#[grange::test]` |
//! | `mistakes`, `spans` | errors, several at once, each where its cause is written |

mod attribute;
mod check;
mod duration;
mod kind;
mod method;
mod mistakes;
mod model;
mod nearest;
mod parameter;
mod parse;
mod program;
mod render;
mod rewrite;
mod spans;

use proc_macro::TokenStream;

/// Makes a struct an entity, and the `async fn`s of its `impl` the handlers.
///
/// On the struct it adds `AccountRef`, the reference by which an `Account` is called; on the one annotated `impl` it
/// gives the reference a method for every `async fn` with `&self` (a read) or `&mut self` (exclusive).
///
/// # On the struct
///
/// `#[entity(name = "…", key = u64, volatile, idle = "10m", placement = "local", mailbox = 1000)]`, all optional:
///
/// - `name`: the kind, on the wire and in storage; the struct's name by default. Keep it when the struct is renamed.
/// - `key`: the type of the key: `String` (the default), `u64`, `i64`, `Uuid`, or a tuple of them.
/// - `volatile`: no stored state; then the struct need not be `Serialize` and `Deserialize`.
/// - `idle`: how long an activation without calls stays in memory: a number and `ms`, `s`, `m`, `h` or `d`.
/// - `placement`: `"partition"` (the default), `"local"` or `"balanced"`.
/// - `mailbox`: how many calls may wait for one entity.
///
/// The struct is `Default`: that is the state of an entity never seen before.
///
/// # On the `impl`
///
/// A handler takes owned arguments, then, if it wants it, its turn (`&mut Turn<Self>`; `&Turn<Self>` in a read), then,
/// as a continuation, an `Outcome<T, E>`. `#[handler(name = "…")]` on it keeps its name on the wire when the function is
/// renamed. `async fn on_activate(&mut self)` and `on_deactivate` are hooks: they may take the turn, and nobody can call
/// them. Helpers go in a plain `impl`.
#[proc_macro_attribute]
pub fn entity(arguments: TokenStream, item: TokenStream) -> TokenStream {
    kind::entity(arguments.into(), &item.into()).into()
}

/// Runs an `async fn main` on an actix `System`.
///
/// It may return anything that `fn main` may: nothing, or a `grange::Result<()>`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    program::program(program::Program::Main, arguments.into(), &item.into()).into()
}

/// A test that is an `async fn`, run on an actix `System` of its own.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    program::program(program::Program::Test, arguments.into(), &item.into()).into()
}
