//! `top`

use crate::args::container::Top;
use crate::context::Context;
use crate::failure::Failure;
use crate::output;
use crate::output::table::Table;

/// `berth top`
pub fn run(arguments: Top, context: &Context) -> Result<u8, Failure> {
    let mut words = arguments.words.into_iter();
    let container = words.next().unwrap_or_default();
    // Columns come one a word, or separated by commas.
    let columns: Vec<String> =
        words.flat_map(|word| word.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
    let engine = context.engine()?;
    let top = context.block_on(async { Ok(engine.top(&container, &columns).await?) })?;
    let mut table = Table::with_headings(top.titles);
    top.rows.into_iter().for_each(|row| table.row(row));
    output::print(&table.render())?;
    Ok(0)
}
