use grange::prelude::*;

#[entity]
#[derive(Default, Serialize, Deserialize)]
enum Light {
    #[default]
    Off,
    On,
}

#[entity]
impl Light {
    async fn switch(&mut self) {
        *self = Light::On;
    }
}

fn main() {}
