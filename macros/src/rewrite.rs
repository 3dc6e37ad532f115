use syn::visit_mut::{self, VisitMut};
use syn::{Ident, Path, PathSegment, Type};

/// Writes the entity's path for `Self`, which means something else in the reference's `impl`.
pub(crate) struct WithoutSelf<'a>(pub(crate) &'a Path);

impl WithoutSelf<'_> {
    pub(crate) fn of(&mut self, ty: &Type) -> Type {
        let mut ty = ty.clone();
        self.visit_type_mut(&mut ty);
        ty
    }
}

impl VisitMut for WithoutSelf<'_> {
    fn visit_path_mut(&mut self, path: &mut Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
            && first.ident == "Self"
        {
            // At the span of `Self`, where what rustc says of it belongs.
            let span = first.ident.span();
            let entity =
                self.0.segments.iter().map(|segment| PathSegment::from(Ident::new(&segment.ident.to_string(), span)));
            let rest = path.segments.iter().skip(1).cloned();
            let segments = entity.chain(rest).collect();
            *path = Path { leading_colon: self.0.leading_colon, segments };
        }
        visit_mut::visit_path_mut(self, path);
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;
    use syn::parse_quote;

    use super::*;

    #[test]
    fn self_becomes_the_entity() {
        let entity: Path = parse_quote!(bank::Account);
        let rewritten = WithoutSelf(&entity).of(&parse_quote!(Result<Vec<Self>, [u8; Self::LIMIT]>));
        let expected: Type = parse_quote!(Result<Vec<bank::Account>, [u8; bank::Account::LIMIT]>);
        assert_eq!(rewritten.to_token_stream().to_string(), expected.to_token_stream().to_string());
    }
}
