//! The counter by which this host's processor tells the time. QEMU's TCG hands it on to the software machine, which
//! measures how fast it counts as it boots, and keeps time by that from then on, wherever it is loaded.

/// How far apart two measurements of one counter may be, in thousandths: what the kernel takes at its boot is within half of
/// that.
const MOST_APART: f64 = 1.0;

/// How fast it counts here, in MHz; none where the kernel does not tell.
pub(super) fn rate() -> Option<f64> {
    told_by(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// Whether a machine that was booted where it counts as fast as `there` has the right time `here`.
pub(super) fn is_same(there: Option<f64>, here: Option<f64>) -> bool {
    match (there, here) {
        (Some(there), Some(here)) => (there - here).abs() * 1000.0 <= here * MOST_APART,
        (there, here) => there.is_none() && here.is_none(),
    }
}

/// The kernel waits for short times by the same counter. What it calls BogoMIPS is twice the rate (`lpj_fine`), whatever
/// the speed at which the processor runs just now.
fn told_by(cpuinfo: &str) -> Option<f64> {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mut told = fields.filter(|(name, _)| name.trim().eq_ignore_ascii_case("bogomips"));
    let twice: f64 = told.next()?.1.trim().parse().ok()?;
    (twice > 0.0).then_some(twice / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_hosts_kernel_tells_how_fast_its_counter_counts() {
        assert!(rate().is_some_and(|rate| rate > 0.0 && rate < 100_000.0));
        let cpuinfo = "processor\t: 0\ncpu MHz\t\t: 800.000\nbogomips\t: 4890.85\n\nprocessor\t: 1\nbogomips\t: 4890.86\n";
        assert_eq!(told_by(cpuinfo), Some(2445.425));
        assert_eq!(told_by("processor\t: 0\nBogoMIPS\t: 50.00\n"), Some(25.0));
        for nothing in ["", "bogomips", "bogomips\t: \n", "bogomips\t: 0.00\n"] {
            assert_eq!(told_by(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn one_counter_that_was_measured_twice_is_the_same() {
        assert!(is_same(Some(2000.0), Some(2001.0)) && is_same(Some(2001.0), Some(2000.0)));
        assert!(!is_same(Some(2000.0), Some(2005.0)) && !is_same(Some(2005.0), Some(2000.0)));
        assert!(!is_same(Some(f64::NAN), Some(2000.0)));
        assert!(is_same(None, None) && !is_same(None, Some(2000.0)) && !is_same(Some(2000.0), None));
    }
}
