//! What the compiler says of mistakes, and what it must accept.
//!
//! The texts beside the cases are those of the toolchain of CI: rustc words its share of them differently in each
//! version. After a change, `TRYBUILD=overwrite cargo test -p grange --test ui` writes them anew; then read the
//! difference. A case is named for its mistake, and has one error.

#[test]
fn a_mistake_is_an_error_that_says_what_to_write() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
}
