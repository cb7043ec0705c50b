//! The figures of the last run, in planning/reliability.md between two marks.

use std::fmt::Write as _;
use std::path::Path;

use crate::Figure;

const BEGIN: &str = "<!-- figures of the drills: begin -->";
const END: &str = "<!-- figures of the drills: end -->";

/// Replaces the lines of the drills that ran; the others stay.
pub(crate) fn write(figures: &[Figure]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("planning/reliability.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let ran = |line: &str| {
        figures
            .iter()
            .any(|figure| line.starts_with(&format!("| {} |", figure.drill)))
    };
    let mut lines: Vec<String> = table
        .lines()
        .filter(|line| {
            line.starts_with("| ")
                && !line.starts_with("| drill |")
                && !line.starts_with("| ---")
                && !ran(line)
        })
        .map(str::to_owned)
        .collect();
    for figure in figures {
        lines.push(format!(
            "| {} | {} | {} |",
            figure.drill, figure.what, figure.result
        ));
    }
    lines.sort();
    let mut new = String::from("\n| drill | what was done | what came of it |\n| --- | --- | --- |\n");
    for line in lines {
        writeln!(new, "{line}").unwrap();
    }
    std::fs::write(path, format!("{before}{BEGIN}\n{new}\n{END}{after}")).unwrap();
}
