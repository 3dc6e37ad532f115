#[grange::main]
async fn main() -> grange::Result<()> {
    1
}
