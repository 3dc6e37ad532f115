use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Ident, Lit, LitStr, Result, Token, Type};

use crate::duration::milliseconds;
use crate::mistakes::Mistakes;
use crate::nearest::nearest;

const ARGUMENTS: [&str; 6] = ["name", "key", "volatile", "idle", "placement", "mailbox"];
const PLACEMENTS: [&str; 3] = ["partition", "local", "balanced"];

/// A name travels with every message and stands in every record.
const NAME_BYTES_MAX: usize = 100;

/// The arguments of `#[entity(…)]` on a struct; what was wrong is as if it had not been there.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) name: Option<String>,
    pub(crate) key: Option<Type>,
    pub(crate) volatile: bool,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) placement: Placement,
    pub(crate) mailbox: Option<u32>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    #[default]
    Partition,
    Local,
    Balanced,
}

impl Arguments {
    pub(crate) fn parse(tokens: TokenStream, mistakes: &mut Mistakes) -> Self {
        let mut arguments = Self::default();
        let parser = |input: ParseStream<'_>| {
            arguments.read_all(input, mistakes);
            Ok(())
        };
        if let Err(error) = parser.parse2(tokens) {
            mistakes.add(error);
        }
        arguments
    }

    fn read_all(&mut self, input: ParseStream<'_>, mistakes: &mut Mistakes) {
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            if let Err(error) = self.read(input, &mut seen) {
                mistakes.add(error);
                // Goes on behind the next comma, to hear of the next mistake as well.
                while !input.is_empty() && !input.peek(Token![,]) {
                    let _: Result<TokenTree> = input.parse();
                }
            }
            if !input.is_empty() {
                let comma: Result<Token![,]> = input.parse();
                if let Err(error) = comma {
                    return mistakes.add(error);
                }
            }
        }
    }

    fn read(&mut self, input: ParseStream<'_>, seen: &mut Vec<String>) -> Result<()> {
        let argument: Ident = input
            .call(Ident::parse_any)
            .map_err(|error| Error::new(error.span(), format!("expected one of {}", listed(&ARGUMENTS))))?;
        let name = argument.to_string();
        if !ARGUMENTS.contains(&name.as_str()) {
            let meant =
                nearest(&name, &ARGUMENTS).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            let message = format!("`#[entity]` has no argument `{name}`{meant} (it has {})", listed(&ARGUMENTS));
            return Err(Error::new(argument.span(), message));
        }
        if seen.contains(&name) {
            return Err(Error::new(argument.span(), format!("`{name}` is given twice: keep one")));
        }
        seen.push(name.clone());
        match name.as_str() {
            "volatile" => self.volatile = flag(&argument, input)?,
            "key" => self.key = Some(key(&argument, input)?),
            "name" => self.name = Some(wire_name(&text(&argument, "Account", input)?, "a kind", "account")?),
            "idle" => {
                let text = text(&argument, "10m", input)?;
                self.idle_ms = Some(milliseconds(&text.value()).map_err(|error| Error::new(text.span(), error))?);
            }
            "placement" => self.placement = placement(&text(&argument, "local", input)?)?,
            _ => self.mailbox = Some(mailbox(&argument, input)?),
        }
        if input.is_empty() || input.peek(Token![,]) {
            return Ok(());
        }
        Err(input.error("expected a comma before the next argument"))
    }
}

fn listed(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// The `=` and what follows it, or what should have been written.
fn value(argument: &Ident, example: &str, input: ParseStream<'_>) -> Result<()> {
    let missing = |span| Error::new(span, format!("`{argument}` needs a value: write `{argument} = {example}`"));
    if !input.peek(Token![=]) {
        return Err(missing(if input.is_empty() { argument.span() } else { input.span() }));
    }
    let equals: Token![=] = input.parse()?;
    if input.is_empty() || input.peek(Token![,]) { Err(missing(equals.span)) } else { Ok(()) }
}

fn text(argument: &Ident, example: &str, input: ParseStream<'_>) -> Result<LitStr> {
    value(argument, &format!("\"{example}\""), input)?;
    if input.peek(LitStr) {
        return input.parse();
    }
    let value: TokenTree = input.parse()?;
    let shown = value.to_string();
    let example = match argument == "idle" {
        true if shown.parse::<u64>().is_ok() => format!("{shown}s"),
        false if shown.chars().all(char::is_alphanumeric) => shown,
        _ => example.to_owned(),
    };
    Err(Error::new(value.span(), format!("`{argument}` is a text: write `{argument} = \"{example}\"`")))
}

fn flag(argument: &Ident, input: ParseStream<'_>) -> Result<bool> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(true);
    }
    Err(Error::new(input.span(), format!("`{argument}` has no value: write `{argument}` alone, or leave it out")))
}

fn key(argument: &Ident, input: ParseStream<'_>) -> Result<Type> {
    value(argument, "u64", input)?;
    if let Ok(literal) = input.fork().parse::<Lit>() {
        let meant = if let Lit::Str(text) = &literal { text.value() } else { "u64".to_owned() };
        return Err(Error::new(literal.span(), format!("`key` is a type: write `key = {meant}`, without quotes")));
    }
    input.parse().map_err(|error| {
        let advice = "`key` is a type: write `key = u64`, `i64`, `Uuid`, `String`, or a tuple of them";
        Error::new(error.span(), advice)
    })
}

fn placement(text: &LitStr) -> Result<Placement> {
    match text.value().as_str() {
        "partition" => Ok(Placement::Partition),
        "local" => Ok(Placement::Local),
        "balanced" => Ok(Placement::Balanced),
        other => {
            let meant =
                nearest(other, &PLACEMENTS).map(|meant| format!(" did you mean \"{meant}\"?")).unwrap_or_default();
            let message = format!("there is no placement `{other}`:{meant} write one of {}", listed(&PLACEMENTS));
            Err(Error::new(text.span(), message))
        }
    }
}

fn mailbox(argument: &Ident, input: ParseStream<'_>) -> Result<u32> {
    value(argument, "1000", input)?;
    let advice = "`mailbox` is how many calls may wait, from 1 to 4294967295: write `mailbox = 1000`";
    let span = input.span();
    match input.parse::<Lit>() {
        Ok(Lit::Int(number)) => match number.base10_parse() {
            Ok(0) | Err(_) => Err(Error::new(number.span(), advice)),
            Ok(count) => Ok(count),
        },
        Ok(other) => Err(Error::new(other.span(), advice)),
        Err(_) => Err(Error::new(span, advice)),
    }
}

/// A name that stands in records and envelopes: a `/` would make `kind/key` ambiguous.
fn wire_name(text: &LitStr, of: &str, example: &str) -> Result<String> {
    let name = text.value();
    let problem = if name.is_empty() {
        "is empty".to_owned()
    } else if name.contains('/') {
        "contains a `/`, which stands between kind and key".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("has {} bytes; {NAME_BYTES_MAX} is the limit", name.len())
    } else {
        return Ok(name);
    };
    Err(Error::new(text.span(), format!("the name of {of} {problem}: write a short name, such as \"{example}\"")))
}

/// `#[handler(name = "…")]`: the name on the wire.
pub(crate) fn handler_name(attribute: &syn::Attribute) -> Result<String> {
    let advice = "write `#[handler(name = \"…\")]`, the handler's name on the wire";
    let Ok(list) = attribute.meta.require_list() else { return Err(Error::new_spanned(attribute, advice)) };
    let parser = |input: ParseStream<'_>| {
        let argument: Ident = input.call(Ident::parse_any).map_err(|_| Error::new_spanned(attribute, advice))?;
        if argument != "name" {
            return Err(Error::new(argument.span(), format!("`#[handler]` has no argument `{argument}`: {advice}")));
        }
        let text = text(&argument, "deposit", input)?;
        let name = wire_name(&text, "a handler", "deposit")?;
        if input.is_empty() { Ok(name) } else { Err(input.error(advice)) }
    };
    list.parse_args_with(parser)
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, quote};

    use super::*;

    fn parsed(tokens: TokenStream) -> Arguments {
        let mut mistakes = Mistakes::default();
        let arguments = Arguments::parse(tokens, &mut mistakes);
        assert_eq!(mistakes.messages(), [""; 0]);
        arguments
    }

    fn mistakes(tokens: TokenStream) -> Vec<String> {
        let mut mistakes = Mistakes::default();
        Arguments::parse(tokens, &mut mistakes);
        mistakes.messages()
    }

    #[test]
    fn every_argument_is_read() {
        let all = parsed(quote!(
            name = "account",
            key = (String, u64),
            volatile,
            idle = "10m",
            placement = "local",
            mailbox = 1_000,
        ));
        assert_eq!(all.name.as_deref(), Some("account"));
        assert_eq!(all.key.to_token_stream().to_string(), "(String , u64)");
        assert!(all.volatile);
        assert_eq!((all.idle_ms, all.mailbox), (Some(600_000), Some(1000)));
        assert_eq!(all.placement, Placement::Local);
    }

    #[test]
    fn no_argument_is_the_default() {
        let none = parsed(quote!());
        assert!(none.name.is_none() && none.key.is_none() && !none.volatile);
        assert_eq!(none.placement, Placement::Partition);
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let found = mistakes(quote!(nme = "x", volatile = true, mailbox = 0, idle = 10, key = "u64", key = u64));
        assert_eq!(found.len(), 6, "{found:#?}");
        assert!(found[0].contains("did you mean `name`?"), "{}", found[0]);
        assert!(found[1].contains("write `volatile` alone"), "{}", found[1]);
        assert!(found[2].contains("write `mailbox = 1000`"), "{}", found[2]);
        assert!(found[3].contains("write `idle = \"10s\"`"), "{}", found[3]);
        assert!(found[4].contains("write `key = u64`, without quotes"), "{}", found[4]);
        assert!(found[5].contains("given twice"), "{}", found[5]);
    }

    #[test]
    fn a_name_is_checked() {
        assert!(mistakes(quote!(name = ""))[0].contains("is empty"));
        assert!(mistakes(quote!(name = "a/b"))[0].contains("contains a `/`"));
        let long = "x".repeat(101);
        assert!(mistakes(quote!(name = #long))[0].contains("101 bytes"));
        assert!(mistakes(quote!(name = Account))[0].contains("write `name = \"Account\"`"));
        assert!(mistakes(quote!(name))[0].contains("needs a value"));
        assert!(mistakes(quote!(name =))[0].contains("needs a value"));
        assert!(mistakes(quote!(name("Account")))[0].contains("needs a value"));
    }

    #[test]
    fn a_placement_is_checked() {
        assert!(mistakes(quote!(placement = "lokal"))[0].contains("did you mean \"local\"?"));
        assert!(mistakes(quote!(placement = balanced))[0].contains("write `placement = \"balanced\"`"));
    }

    #[test]
    fn a_handlers_name_is_read() {
        let read = |attribute: syn::Attribute| handler_name(&attribute);
        assert_eq!(read(syn::parse_quote!(#[handler(name = "pay")])).unwrap(), "pay");
        assert!(read(syn::parse_quote!(#[handler])).is_err());
        assert!(read(syn::parse_quote!(#[handler(name = "")])).is_err());
        assert!(read(syn::parse_quote!(#[handler(nam = "x")])).is_err());
        assert!(read(syn::parse_quote!(#[handler(name = "x", other)])).is_err());
    }
}
