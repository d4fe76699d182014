//! `bedplate config schema`: the JSON Schema that editors complete and check by.

use crate::exit::Error;
use crate::output;

/// Print the JSON Schema of the machine config, for editors
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Prints it.
pub(super) fn run(_args: &Args) -> Result<(), Error> {
    output::print(&text()?);
    Ok(())
}

/// The schema as it stands in `docs/`.
fn text() -> Result<String, Error> {
    let mut text =
        serde_json::to_string_pretty(&spec_config::schema::document()).map_err(Error::failed)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_what_is_printed() {
        let page = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/machine-config.schema.json"
        );
        let kept = std::fs::read_to_string(page).unwrap();
        assert!(
            kept == text().unwrap(),
            "write it anew: bedplate config schema > docs/machine-config.schema.json"
        );
    }
}
