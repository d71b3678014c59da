//! Builds an image: `cargo run -p kiln-guest-images --example build -- RECIPE AGENT CACHE [SUITE]`.

use kiln_guest_images::{Options, Recipe, build};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, agent, cache, suite @ ..] = &arguments[..] else {
        return Err("usage: build RECIPE AGENT CACHE [SUITE]".into());
    };
    let mut recipe = Recipe::find(recipe)?;
    if let Some(suite) = suite.first() {
        recipe = recipe.with_suite(suite)?;
    }
    let start = std::time::Instant::now();
    let progress = |step: &str| eprintln!("{:6.1}s {step}", start.elapsed().as_secs_f32());
    let options = Options {
        cache: Path::new(cache),
        agent: Path::new(agent),
        epoch: None,
        progress: &progress,
    };
    let built = build(&recipe, &options)?;
    println!("{}", built.path.display());
    eprintln!(
        "{:6.1}s done, cached: {}",
        start.elapsed().as_secs_f32(),
        built.cached
    );
    Ok(())
}
