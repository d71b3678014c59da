//! Two things measured side by side: medians, their ratio, and the bound that it must keep.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often each of the two is measured.
pub(crate) const ROUNDS: usize = 11;
/// And how often at least where rounds are long.
const LEAST: u32 = 3;

/// A table of figures, each measured of the same two.
pub(crate) struct Comparison {
    /// What is compared.
    pub(crate) title: &'static str,
    /// What each number is.
    pub(crate) each: String,
    /// The names of the two. Ratios are of the second to the first.
    pub(crate) of: [&'static str; 2],
    /// What was measured.
    pub(crate) figures: Vec<Figure>,
    /// What broke the measurement off, so that these are the figures of what was measured before.
    pub(crate) failure: Option<String>,
}

/// One thing that was measured of both.
pub(crate) struct Figure {
    what: String,
    unit: &'static str,
    medians: [f64; 2],
    bound: f64,
    /// The most that the second may be, whatever the first is.
    limit: Option<f64>,
}

impl Figure {
    /// The medians of the two rows of samples. Where a row is empty, the figure keeps no bound.
    pub(crate) fn new(
        what: impl Into<String>,
        unit: &'static str,
        samples: &mut [Vec<f64>; 2],
        bound: f64,
    ) -> Figure {
        let medians = [median(&mut samples[0]), median(&mut samples[1])];
        let what = what.into();
        Figure {
            what,
            unit,
            medians,
            bound,
            limit: None,
        }
    }

    /// With a bound on the second itself.
    pub(crate) fn at_most(self, limit: f64) -> Figure {
        let limit = Some(limit);
        Figure { limit, ..self }
    }

    fn ratio(&self) -> f64 {
        // No number where one of them was not measured.
        self.medians[1] / self.medians[0].clamp(f64::MIN_POSITIVE, f64::MAX)
    }

    /// What it must keep, in words.
    fn bounds(&self) -> String {
        let ratio = self.bound.is_finite().then(|| format!("{:.2}", self.bound));
        let limit = self
            .limit
            .map(|limit| format!("{limit:.0} {} at most", self.unit));
        [ratio, limit]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn is_met(&self) -> bool {
        self.ratio() <= self.bound && self.limit.is_none_or(|limit| self.medians[1] <= limit)
    }
}

impl Comparison {
    /// Whether all was measured, and every ratio keeps its bound.
    pub(crate) fn is_met(&self) -> bool {
        self.failure.is_none() && self.figures.iter().all(Figure::is_met)
    }

    /// Prints the table, and the ratios in one line.
    pub(crate) fn print(&self) {
        let [first, second] = self.of;
        println!("{}, {}\n", self.title, self.each);
        println!("| | {first} | {second} | ratio | bound | |\n|---|---|---|---|---|---|");
        for f in &self.figures {
            let mark = if f.is_met() { "met" } else { "**not met**" };
            println!(
                "| {} ({}) | {:.1} | {:.1} | {:.2} | {} | {mark} |",
                f.what,
                f.unit,
                f.medians[0],
                f.medians[1],
                f.ratio(),
                f.bounds()
            );
        }
        let ratios: Vec<String> = self
            .figures
            .iter()
            .map(|f| format!("{} {:.2}", f.what, f.ratio()))
            .collect();
        println!("figure: {second} against {first}: {}\n", ratios.join(", "));
        if let Some(failure) = &self.failure {
            println!("broken off: {failure}\n");
        }
    }

    /// The same for programs.
    pub(crate) fn document(&self) -> Value {
        let [first, second] = self.of;
        let rows: Vec<Value> = self
            .figures
            .iter()
            .map(|f| {
                json!({"what": f.what, "unit": f.unit, first: f.medians[0], second: f.medians[1],
                "ratio": f.ratio(), "bound": f.bound, "limit": f.limit, "met": f.is_met()})
            })
            .collect();
        json!({"title": self.title, "each": self.each, "figures": rows, "failure": self.failure})
    }
}

/// Long rounds: as many as fit into `limit` by what they have taken so far, but three at least and [`ROUNDS`] at most.
pub(crate) fn rounds(limit: Duration) -> impl Iterator<Item = u32> {
    let began = Instant::now();
    (0..).take(ROUNDS).take_while(move |&done| {
        let took = began.elapsed();
        done < LEAST || took + took / done <= limit
    })
}

/// What each number of a table is, where it is the median of so many samples.
pub(crate) fn median_of(rounds: usize) -> String {
    format!("median of {rounds}")
}

/// The one in the middle; no number where there is none.
pub(crate) fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Does something and adds its milliseconds.
pub(crate) fn timed<T>(samples: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    samples.push(start.elapsed().as_secs_f64() * 1000.0);
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(samples: [Vec<f64>; 2], failure: Option<&str>) -> Comparison {
        let figure = Figure::new("boot", "ms", &mut samples.clone(), f64::INFINITY).at_most(5.0);
        Comparison {
            title: "Boots",
            each: median_of(1),
            of: ["peer", "kiln"],
            figures: vec![figure],
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn there_are_three_rounds_though_there_is_no_time_and_eleven_where_it_is_ample() {
        assert_eq!(rounds(Duration::ZERO).count(), 3);
        assert_eq!(rounds(Duration::MAX).count(), ROUNDS);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert!(comparison([vec![2.0], vec![1.0]], None).is_met());
        assert!(!comparison([vec![2.0], vec![]], None).is_met());
        assert!(!comparison([vec![], vec![1.0]], None).is_met());
    }

    #[test]
    fn figures_from_before_a_failure_are_in_the_document_and_are_not_met() {
        let broken = comparison([vec![2.0], vec![1.0]], Some("the guest fell silent"));
        assert!(!broken.is_met());
        let document = broken.document();
        assert_eq!(document["failure"], "the guest fell silent");
        assert_eq!(document["figures"][0]["kiln"], 1.0);
        assert_eq!(document["figures"][0]["limit"], 5.0);
    }
}
