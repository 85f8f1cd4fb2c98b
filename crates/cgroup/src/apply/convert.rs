//! Values of v1, which the specification speaks, as v2 has them.
//!
//! The formulas are those that other runtimes use, so that a limit means the same under each.

/// `cpu.shares` (2 to 262144) as `cpu.weight` (1 to 10000).
///
/// The curve goes through both ends and through both defaults (1024 → 100), unlike the straight
/// line of earlier runtimes, which gave a default container 39.
pub(crate) fn shares_to_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = log2(shares);
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // Ten to the power rounds to a hair above whole numbers at the defaults.
    let weight = exponential(exponent * std::f64::consts::LN_10) - 1e-6;
    let whole = weight as u64;
    if (whole as f64) < weight { whole + 1 } else { whole }
}

/// `pids.limit` as the most tasks that there may be; `None` is any number.
///
/// Below zero is no limit. Zero is one, and means the least: the kernel would take 0, and systemd
/// would not, and the process that is put into the cgroup is there in any case.
pub(crate) fn tasks(limit: i64) -> Option<u64> {
    u64::try_from(limit).ok().map(|limit| limit.max(1))
}

/// The same as the file `pids.max` has it.
pub(crate) fn pids_max(limit: i64) -> String {
    tasks(limit).map_or_else(|| "max".to_owned(), |limit| limit.to_string())
}

/// How many terms of a series make it as exact as an `f64`, for the arguments that occur here.
const TERMS: u32 = 24;

/// The logarithm to base 2 of a positive number; the C library's would be the only thing that the
/// runtime needs of a library of mathematics.
fn log2(number: u64) -> f64 {
    let whole = number.ilog2();
    let rest = number as f64 / (1_u64 << whole) as f64;
    // ln(rest) = 2 artanh(z), where `rest` is below 2 and so `z` below a third.
    let z = (rest - 1.0) / (rest + 1.0);
    let mut power = z;
    let mut sum = 0.0;
    for term in 0..TERMS {
        sum += power / f64::from(2 * term + 1);
        power *= z * z;
    }
    f64::from(whole) + 2.0 * sum / std::f64::consts::LN_2
}

/// `e` to a power from 0 to 43.
fn exponential(power: f64) -> f64 {
    let doublings = (power / std::f64::consts::LN_2) as u32;
    let rest = power - f64::from(doublings) * std::f64::consts::LN_2;
    let mut summand = 1.0;
    let mut sum = 1.0;
    for term in 1..TERMS {
        summand *= rest / f64::from(term);
        sum += summand;
    }
    sum * (1_u64 << doublings) as f64
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub(crate) fn blkio_to_io_weight(weight: u16) -> u64 {
    let weight = u64::from(weight.clamp(10, 1000));
    1 + (weight - 10) * 9999 / 990
}

/// Why memory and swap together cannot become swap alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SwapError {
    /// There is no memory limit to subtract.
    NoLimit,
    /// The sum is below the memory limit.
    BelowLimit,
}

/// The sum of memory and swap (v1) as swap alone (v2), as the file takes it. `None` leaves it be.
pub(crate) fn swap_alone(sum: i64, limit: Option<i64>) -> Result<Option<String>, SwapError> {
    match (sum, limit) {
        (0, _) => Ok(None),
        (..0, _) => Ok(Some("max".to_owned())),
        (_, None | Some(..=0)) => Err(SwapError::NoLimit),
        (sum, Some(limit)) if sum < limit => Err(SwapError::BelowLimit),
        (sum, Some(limit)) => Ok(Some((sum - limit).to_string())),
    }
}

/// A limit of which -1 (anything negative) is none.
pub(crate) fn limit(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_keep_both_ends_and_the_default() {
        let pairs = [(0, 1), (2, 1), (102, 17), (512, 59), (1024, 100), (262_144, 10_000)];
        for (shares, weight) in pairs {
            assert_eq!(shares_to_weight(shares), weight, "{shares}");
        }
        let weights: Vec<u64> = (2..5000).map(shares_to_weight).collect();
        assert!(weights.is_sorted());
    }

    #[test]
    fn weights_are_those_of_the_formula_for_all_shares() {
        for shares in 3..262_144_u64 {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            let weight = (10_f64.powf(exponent) - 1e-6).ceil() as u64;
            assert_eq!(shares_to_weight(shares), weight, "{shares}");
        }
    }

    #[test]
    fn io_weight_spans_its_whole_range() {
        assert_eq!(blkio_to_io_weight(10), 1);
        assert_eq!(blkio_to_io_weight(500), 4950);
        assert_eq!(blkio_to_io_weight(1000), 10_000);
    }

    #[test]
    fn swap_is_what_the_sum_has_beyond_memory() {
        assert_eq!(swap_alone(100, Some(60)), Ok(Some("40".to_owned())));
        assert_eq!(swap_alone(60, Some(60)), Ok(Some("0".to_owned())));
        assert_eq!(swap_alone(-1, None), Ok(Some("max".to_owned())));
        assert_eq!(swap_alone(0, None), Ok(None));
        assert_eq!(swap_alone(50, Some(60)), Err(SwapError::BelowLimit));
        assert_eq!(swap_alone(50, None), Err(SwapError::NoLimit));
        assert_eq!(swap_alone(50, Some(-1)), Err(SwapError::NoLimit));
    }
}
