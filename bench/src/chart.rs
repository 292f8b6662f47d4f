//! The chart: every figure with a target as a bar, and where the target stands.

use crate::report::{Finding, Target};

const WIDTH: f64 = 980.0;
/// Where bars begin: left of it stands what was measured.
const LEFT: f64 = 480.0;
const ROW: f64 = 26.0;
const TOP: f64 = 34.0;
/// The target stands here, so that all of them are in one line; a bar twice as long is cut.
const TARGET: f64 = 200.0;

/// Draws an SVG: each bar in proportion to its target, which is the line down the middle.
#[must_use]
pub fn draw(findings: &[Finding]) -> String {
    let rows: Vec<(&Finding, Target)> =
        findings.iter().filter_map(|finding| Some((finding, finding.target?))).collect();
    let height = TOP + ROW * rows.len() as f64 + 12.0;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="{x}" y="18" text-anchor="middle" fill="#555">target</text>
<line x1="{x}" y1="24" x2="{x}" y2="{end}" stroke="#555" stroke-dasharray="4 3"/>
"##,
        x = LEFT + TARGET,
        end = height - 8.0
    );
    for (row, (finding, target)) in rows.iter().enumerate() {
        let (limit, sign) = match target {
            Target::AtMost(limit) => (limit, "≤"),
            Target::AtLeast(limit) => (limit, "≥"),
        };
        let y = TOP + ROW * row as f64;
        let length = (finding.figure.median / limit * TARGET).clamp(1.0, 2.0 * TARGET);
        let colour = if finding.is_met() == Some(true) { "#2f7d5b" } else { "#c2571a" };
        let label = format!("{}: {}", finding.scenario, finding.what).replace('&', "&amp;").replace('<', "&lt;");
        svg.push_str(&format!(
            r##"<text x="{}" y="{}" text-anchor="end">{label}</text><rect x="{LEFT}" y="{}" width="{length:.1}" height="16" fill="{colour}"/><text x="{:.1}" y="{}" fill="#333">{:.2} ({sign} {limit})</text>
"##,
            LEFT - 8.0,
            y + 13.0,
            y,
            LEFT + length + 6.0,
            y + 13.0,
            finding.figure.median,
        ));
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_target_is_drawn() {
        let findings = [Finding::new("a", "CPU <event>", [1.0]).at_most(2.0), Finding::new("a", "free", [1.0])];
        let svg = draw(&findings);
        assert_eq!(svg.matches("<rect x=").count(), 1);
        assert!(svg.contains("a: CPU &lt;event>") && svg.contains(r#"width="100.0""#), "{svg}");
    }
}
